// Package proxyserver is a small access proxy: the server half of what tshx
// speaks, for tests, demonstrations and development without a real cluster.
//
//	a, err := proxyserver.NewAuthority("lab.example.com", proxyserver.ECDSA)
//	s, err := proxyserver.New(proxyserver.Options{Authority: a, Nodes: nodes})
//	defer s.Close()
//	err = s.Serve(ctx, ln)
//
// One TLS port carries SSH, databases, apps, Kubernetes and the web API, with
// the routing of tlsroute.Mux; connections that come through the upgrade
// endpoint are fed back into the same Mux. Routes and rights are what the
// client's certificate says and what Options lists.
//
// It has no users, no roles and no audit log, and hands out
// certificates to whoever holds its Authority: it is not a proxy to put in
// front of anything that matters.
package proxyserver

import (
	"errors"
	"log/slog"
	"time"
)

// Options configure a Server. Only Authority is needed.
type Options struct {
	Authority *Authority
	Behavior  Behavior // zero: V17
	// PublicAddr is the host:port that the web API announces, and its host a name
	// in the certificates. Empty means localhost and the port of the listener.
	PublicAddr string
	Nodes      []Node
	Databases  []Database
	Apps       []App
	Kubes      []Kube
	// MySQLVersion is announced by the MySQL front to clients whose database is
	// not known yet and that ask for no version. Empty means a built-in one.
	MySQLVersion string
	// KubeAddr and AuthAddr are where connections for Kubernetes and for the
	// cluster's Auth service are forwarded to, with their TLS untouched. Empty:
	// no such route. KubeAddr is for want of Kubes.
	KubeAddr, AuthAddr string
	// TrustForwardedFor takes the client's address from X-Forwarded-For.
	TrustForwardedFor bool
	// ProxyProtocol is what is done with PROXY protocol headers.
	ProxyProtocol ProxyProtocol
	// ID is the host UUID of this proxy; empty makes one up. Agents are told to keep
	// a tunnel to it and to each of Peers, the IDs of the cluster's other proxies.
	ID    string
	Peers []string
	// HeartbeatInterval is how often agents ping; zero means 5 min. Three that are
	// missed end a tunnel.
	HeartbeatInterval time.Duration
	// PingInterval is the time between pings; zero means 30 s.
	PingInterval time.Duration
	// Log gets one line for each connection at its end. Nil drops them.
	Log *slog.Logger
}

// Behavior is what differs between releases of the real proxy.
type Behavior struct {
	Version          string // announced by the web API
	MinClientVersion string
	// NoWebSocket: the upgrade endpoint knows only the alpn and alpn-ping
	// upgrades. NoLegacy: only WebSocket.
	NoWebSocket, NoLegacy bool
	// ConfirmSSH: teleport-proxy-ssh is confirmed in the handshake. Without it
	// the answer carries no ALPN at all, and the host certificate alone tells the
	// client that it has reached the proxy.
	ConfirmSSH bool
	// KubeLegacy: server names that begin with "kube." are for Kubernetes, too.
	KubeLegacy bool
}

// V14 is the behaviour seen on a live v14 cluster.
func V14() Behavior {
	return Behavior{Version: "14.0.0", MinClientVersion: "13.0.0", NoWebSocket: true, KubeLegacy: true}
}

// V17 is the behaviour of v15 and later: WebSocket upgrades, ALPN confirmed.
func V17() Behavior {
	return Behavior{Version: "17.0.0", MinClientVersion: "16.0.0", ConfirmSSH: true}
}

// Node is an SSH server that the proxy: subsystem reaches.
type Node struct {
	Name string // host name in the cluster
	ID   string // its host UUID; may be empty
	Addr string // host:port to dial; empty: an agent serves it
}

// Database is a backend that database certificates open.
type Database struct {
	Name     string
	Protocol string // "postgres", "cockroachdb", "mysql", "redis", ...
	Addr     string // host:port or unix:/path; spoken to without TLS; empty: an agent serves it
}

// App is a backend that app certificates open.
type App struct {
	Name       string
	URI        string // tcp://host:port, http:// or https://; http:// or tcp:// alone: an agent serves it
	PublicAddr string // empty: the name below the proxy's host
	// AWS, if not nil, makes the app an account at Amazon; then URI is only shown.
	AWS *AWS
	// Cloud is whose API an app is that is none of AWS: "azure", "gcp" or empty. The
	// page tells how to use it; requests go to it as to any.
	Cloud string
}

// Errors that refuse a route to a client.
var (
	ErrUnknownDatabase = errors.New("no such database")
	ErrUnknownApp      = errors.New("no such app")
	ErrUnknownNode     = errors.New("no such node")
)
