package main

import (
	"cmp"
	"fmt"
	"net"
	"os"

	"tshx/internal/dbproxy"
	"tshx/internal/tlsroute"
)

// notDirectError says that clients of a database need a local proxy.
type notDirectError struct {
	d   *database
	why string
}

func (e *notDirectError) Error() string {
	return fmt.Sprintf("clients cannot reach %s without a local proxy: %s", e.d.title(), e.why)
}

// Hint names the commands that have one.
func (e *notDirectError) Hint() string {
	return fmt.Sprintf("use: %s, or: tshx db connect %s", e.d.proxyLine(), quote(e.d.Name))
}

// direct is the endpoint for clients that connect to the proxy themselves
// (docs/protocol.md, "Databases"), or *notDirectError.
func (d *database) direct(g *Globals) (dbproxy.Endpoint, error) {
	addr, why := d.directAddr()
	if why != "" {
		return dbproxy.Endpoint{}, &notDirectError{d, why}
	}
	if err := d.plain(); err != nil {
		return dbproxy.Endpoint{}, err
	}
	at := d.Endpoint
	var err error
	if at.Host, at.Port, err = net.SplitHostPort(addr); err != nil {
		return at, fmt.Errorf("address of the proxy: %w", err)
	}
	if addr == d.WebAddr && d.Engine.ALPN != tlsroute.ALPNPostgres {
		// The proxy answers them as it answers browsers.
		if at.Files.CA = publicCAs(g); at.Files.CA == "" {
			return at, &notDirectError{d, "there is no file of CAs for the proxy's public certificate (--ca-file names one)"}
		}
	}
	return at, nil
}

// directAddr is where clients of the database find the proxy by themselves, or
// why they do not.
func (d *database) directAddr() (addr, why string) {
	isMySQL := d.Engine.ALPN == tlsroute.ALPNMySQL
	way, known := d.finder.Known()
	switch {
	case d.Engine.TunnelOnly:
		return "", fmt.Sprintf("those of %s cannot do its TLS", d.Engine.Title)
	case !d.TLSRouting && isMySQL && d.MySQLAddr != "":
		return d.MySQLAddr, ""
	case isMySQL:
		return "", "those of MySQL cannot name their route"
	case !d.TLSRouting && d.Engine.ALPN == tlsroute.ALPNPostgres:
		return cmp.Or(d.PostgresAddr, d.WebAddr), ""
	case !d.TLSRouting && d.Engine.ALPN == tlsroute.ALPNMongoDB && d.MongoAddr != "":
		return d.MongoAddr, ""
	case known && way.Upgrade:
		return "", "something in front of the proxy ends TLS"
	}
	return d.WebAddr, ""
}

// publicCAs is a file with the CAs that vouch for the proxy's public
// certificate: ours, or the system's, which has no place that all agree on.
func publicCAs(g *Globals) string {
	if g.CAFile != "" {
		return absolute(g.CAFile)
	}
	for _, path := range []string{
		os.Getenv("SSL_CERT_FILE"),
		"/etc/ssl/certs/ca-certificates.crt", // Debian, Arch
		"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora
		"/etc/ssl/cert.pem",                  // Alpine, macOS, BSD
		"/etc/ssl/ca-bundle.pem",             // openSUSE
	} {
		if info, err := os.Stat(path); path != "" && err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}
