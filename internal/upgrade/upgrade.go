// Package upgrade turns an HTTP/1.1 request into a stream, and tells whether
// that is needed: both halves of the connection upgrade by which TLS routing
// passes a layer-7 balancer (docs/protocol.md, "Connection upgrade").
//
//	t := upgrade.Target{Addr: "proxy.example.com:443"}
//	if v := t.Test(ctx); v.Required {
//		c, method, err := t.Connect(ctx, upgrade.ALPN, upgrade.Auto)
//	}
//
// The stream carries a complete inner TLS connection; package tlsroute speaks
// that one. This package keeps no memory and reads no environment.
package upgrade

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"
)

// Path is the endpoint; servers take PathV1 for the same.
const (
	Path   = "/webapi/connectionupgrade"
	PathV1 = "/v1" + Path
)

// TestProtocol is the one ALPN name that the test connection offers.
const TestProtocol = "teleport-reversetunnel"

// Bounds of the waits in this package.
const (
	TestTimeout      = 5 * time.Second  // the whole test connection
	HandshakeTimeout = 10 * time.Second // outer TLS, request and response
	PingInterval     = 30 * time.Second // between pings of the server half
)

// Kind is what the stream behind the upgrade needs.
type Kind string

const (
	ALPN     Kind = "alpn"      // the inner protocol keeps itself alive
	ALPNPing Kind = "alpn-ping" // it does not, and both halves ping
)

// Method is how the upgrade is asked for.
type Method string

const (
	Auto      Method = ""          // WebSocket, then Legacy where the server knows no WebSocket
	WebSocket Method = "websocket" // RFC 6455
	Legacy    Method = "legacy"    // Upgrade: alpn or alpn-ping
)

// Target is a proxy's web listener, perhaps behind a balancer.
type Target struct {
	Addr string // host:port; the host is the outer SNI and the Host header
	// Dial opens the TCP connection. Nil uses a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Roots verify the outer, public certificate, besides the system's.
	Roots *x509.CertPool
	// Insecure skips the verification of the outer certificate.
	Insecure bool
	// Sessions, if not nil, holds TLS sessions that Connect may resume. Test does
	// not: it is to see what answers now.
	Sessions tls.ClientSessionCache
	// Pinged, if not nil, is called for each ping of the server in a stream of
	// Connect, by the Read that comes across it.
	Pinged func()
}

// Verdict is the outcome of a test connection with the evidence for it.
type Verdict struct {
	Required bool
	Evidence string // one of the Evidence constants
	Detail   string // the error or the protocol seen, for people; may be empty
}

// Evidence says what a test connection saw.
const (
	EvidenceNegotiated   = "alpn-negotiated"         // the proxy itself answered: not required
	EvidenceNoALPN       = "no-alpn"                 // handshake without ALPN: required
	EvidenceAlert        = "no-application-protocol" // alert 120: required
	EvidenceUnadvertised = "unadvertised-alpn"       // a protocol that was not offered: required
	// EvidenceUpgraded is no test's: somebody else said that an upgrade is
	// needed, and it worked.
	EvidenceUpgraded = "upgraded"
	EvidenceError    = "error" // nothing learned: not required
)
