// Package tlsroute names a route through the access proxy's one TLS port,
// dials it, and, for the server half, routes it.
//
//	d := &tlsroute.Dialer{...}
//	c, err := d.Dial(ctx, tlsroute.Route{Name: "db orders", ALPN: []string{...}})
//
// A route is an SNI and a list of ALPN names. Dialer finds out whether it can
// offer them on a raw TLS connection or must first open a tunnel through an
// HTTP upgrade, because a layer-7 balancer in front ends TLS; nothing above it
// needs to know which. Mux is the other half: it reads the ClientHello and
// picks the handler.
package tlsroute

import "crypto/tls"

// Route says what to ask the proxy for.
type Route struct {
	// Name is for logs and error texts: "ssh", `database "orders"`.
	Name string
	// ALPN is offered in this order. Empty offers none.
	ALPN []string
	// ServerName is the SNI, and the name the certificate must hold. Empty
	// means the host of the proxy's address.
	ServerName string
	// HostCert says that the proxy answers with the certificate of its own
	// cluster even when reached directly (ssh, Kubernetes), so that the
	// cluster's CAs verify it and prove that the proxy was reached. The
	// negotiated ALPN then proves nothing, and real proxies leave it out.
	HostCert bool
	// Certificate yields the client certificate. It is called for each
	// handshake, so that a new login is seen at once. Nil offers none.
	Certificate func() (*tls.Certificate, error)
}

// certificate returns nil where the route has none.
func (r Route) certificate() (*tls.Certificate, error) {
	if r.Certificate == nil {
		return nil, nil
	}
	return r.Certificate()
}
