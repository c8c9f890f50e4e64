package kubeproxy

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"tshx/internal/localproxy"
	"tshx/internal/tlsroute"
)

// Cluster is one Kubernetes cluster to serve.
type Cluster struct {
	Teleport string // the Teleport cluster it belongs to
	Name     string // its name in there
	// Addr is the host:port, or host, of the server's URL that clients are given.
	// It only has to be what they ask the forward proxy for.
	Addr string
	// Route leads to it (Route). Its certificate is asked for at each request, and
	// an error is answered as a missing login.
	Route tlsroute.Route
}

// Route is how to reach the Kubernetes cluster of this name behind the proxy at
// addr (host or host:port).
func Route(name, addr string, cert func() (*tls.Certificate, error)) tlsroute.Route {
	return tlsroute.Route{
		Name: fmt.Sprintf("kube cluster %q", name), ALPN: []string{tlsroute.ALPNHTTP1},
		ServerName: tlsroute.KubeServerName(addr), HostCert: true, Certificate: cert,
	}
}

// Options configure a Proxy. Only Clusters and Dialer are needed. The functions
// are called concurrently.
type Options struct {
	Clusters []Cluster
	Dialer   tlsroute.RouteDialer
	// Dials bounds how many dials are in progress, of all clusters together; those
	// above it wait. Zero means httproute.DefaultDials.
	Dials int
	// Explain words an error for people, in one line with what to do about it. Nil
	// means its own text.
	Explain func(error) string
	// Report is told about each request that failed for lack of a certificate or
	// of the upstream. Nil does nothing.
	Report func(Cluster, error)
	// Opened is called for each accepted connection, Closed at its end. Of one that
	// was tunnelled the bytes are counted as they were on the wire. Nil does
	// nothing.
	Opened func(localproxy.Connection)
	Closed func(localproxy.Connection, localproxy.End)
	Log    *slog.Logger     // Nil drops all
	Now    func() time.Time // Nil means time.Now
}
