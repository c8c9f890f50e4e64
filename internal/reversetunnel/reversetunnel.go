// Package reversetunnel carries connections to what a proxy cannot reach: an
// agent beside the resource dials out to the proxy, and the proxy opens channels
// on that one connection (docs/protocol.md, "Reverse tunnels").
//
//	a := &reversetunnel.Agent{Dial: dial, Identity: identity, Services: services}
//	err := a.Run(ctx)
//
// Agent is the agent's half. The proxy's half is in proxyserver; what both say
// and how a channel becomes a net.Conn (Stream) is here. The package makes no
// TLS connections and authorizes no users: the proxy has done that.
package reversetunnel

import (
	"golang.org/x/crypto/ssh"

	"tshx/internal/tlsroute"
)

// Names of real proxies and agents.
const (
	ChannelHeartbeat = "teleport-heartbeat"
	ChannelDiscovery = "teleport-discovery"
	ChannelTransport = "teleport-transport"

	RequestPing      = "ping"
	RequestDiscovery = "discovery"
	RequestDial      = "teleport-transport-dial"
	RequestVersion   = "x-teleport-version"
	RequestReconnect = "reconnect@goteleport.com"
	RequestKeepAlive = "keepalive@openssh.com"

	// AddressLocal is the service of the agent itself; AddressKube is what it is
	// called where that is Kubernetes.
	AddressLocal = "@local-node"
	AddressKube  = "remote.kube.proxy.teleport.cluster.local"
)

// Banner is the SSH version of our proxies. Real ones have no comment in theirs, or
// another (RFC 4253, section 4.2), and answer none of an agent's global requests.
const Banner = "SSH-2.0-Teleport tshx"

// Names of ours. A real agent knows none of them and goes on without. Real proxies
// are not asked, but for a channel by the name of RequestEnd, which they refuse.
const (
	// RequestResources is a global request of the agent: what it serves, as JSON
	// (Announcement). Real agents tell that to their Auth service.
	RequestResources = "x-tshx-resources"
	// RequestEnd is a channel request without a reply, before an end of stream: what
	// is read to that end is complete, even if the tunnel is lost by then.
	RequestEnd = "x-tshx-end"
	// RequestBroken is a channel request without a reply: what follows is no
	// orderly end. SSH by itself cannot say that.
	RequestBroken = "x-tshx-broken"
)

// Extensions of host certificates.
const (
	ExtensionAuthority = "x-teleport-authority" // the cluster
	ExtensionRole      = "x-teleport-role"      // what the host is, separated by commas
)

// RoleProxy is the role of proxies.
const RoleProxy = "Proxy"

// The kinds of resources, which are connection types of dial requests too.
const (
	KindNode = "node"
	KindDB   = "db"
	KindApp  = "app"
	KindKube = "kube"
)

// Roles says which role of a host may serve a kind.
var Roles = map[string]string{KindNode: "Node", KindDB: "Db", KindApp: "App", KindKube: "Kube"}

// HostKeyAlgorithms are the only ones asked for, so that a server that also has
// bare keys shows its certificate.
var HostKeyAlgorithms = []string{
	ssh.CertAlgoED25519v01,
	ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

// Route is the way of agents through the proxy's port.
func Route() tlsroute.Route {
	return tlsroute.Route{Name: "reverse tunnel", ALPN: []string{tlsroute.ALPNReverseTunnel}}
}
