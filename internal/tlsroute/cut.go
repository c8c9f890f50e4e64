package tlsroute

import (
	"fmt"
	"io"
	"net"

	"tshx/internal/conn"
)

// errCut wraps io.ErrUnexpectedEOF and must not be that value itself, which
// crypto/tls takes for an orderly end between two records.
var errCut = fmt.Errorf("the connection was cut: %w", io.ErrUnexpectedEOF)

// uncut is the stream beneath a TLS connection. Only close_notify ends that one
// in order (RFC 8446, section 6.1); the end of the stream beneath is a cut by
// whoever is on the way, or the death of the proxy. crypto/tls is lenient about
// it for the sake of old web servers.
type uncut struct {
	net.Conn
}

func (c uncut) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF {
		err = errCut
	}
	return n, err
}

func (c uncut) CloseWrite() error { return conn.CloseWrite(c.Conn) }

// NetConn returns the connection beneath, as tls.Conn.NetConn does.
func (c uncut) NetConn() net.Conn { return c.Conn }
