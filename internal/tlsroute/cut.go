package tlsroute

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"

	"tshx/internal/conn"
)

// errCut wraps io.ErrUnexpectedEOF and must not be that value itself, which
// crypto/tls takes for an orderly end between two records.
var errCut = fmt.Errorf("the connection was cut: %w", io.ErrUnexpectedEOF)

// errClientCut is errCut in a form that net/http takes for the end of a
// connection; others it would answer, as a bad request.
var errClientCut = &net.OpError{Op: "read", Net: "tcp", Err: errCut}

// uncut is the stream beneath a TLS connection. Only close_notify ends that one
// in order (RFC 8446, section 6.1); the end of the stream beneath is a cut by
// whoever is on the way, or the death of the other side. crypto/tls is lenient about
// it for the sake of old web servers.
type uncut struct {
	net.Conn
	err error // of a cut
}

func (c uncut) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	switch {
	case n > 0: // an outer tls.Conn returns errors with them, which come again
		return n, nil
	case err == io.EOF:
		return 0, c.err
	}
	return n, err
}

func (c uncut) CloseWrite() error { return conn.CloseWrite(c.Conn) }

// NetConn returns the connection beneath, as tls.Conn.NetConn does.
func (c uncut) NetConn() net.Conn { return c.Conn }

// Polled says that a temporary error of the connection beneath does no harm.
func (c uncut) Polled() net.Conn { return c.Conn }

// client returns a TLS client over stream that takes a cut for a break and
// moves many records at once. It owns stream, and changes cfg.
func client(stream net.Conn, cfg *tls.Config) *conn.TLS {
	below := conn.NewBatch(stream)
	// Small first records shorten the wait for a page's first bytes. Here they
	// would only cost.
	cfg.DynamicRecordSizingDisabled = true
	c := conn.NewTLS(nil, below)
	// A parsed certificate with its key is as large as all the rest of an idle
	// connection.
	if get := cfg.GetClientCertificate; get != nil {
		cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) { return get(info) }
		c.Handshaken = func() { get = nil }
	}
	c.Conn = tls.Client(uncut{below, errCut}, cfg)
	return c
}
