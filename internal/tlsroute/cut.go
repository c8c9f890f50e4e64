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
	switch {
	case err != io.EOF:
		return n, err
	case n > 0: // as an outer tls.Conn returns them; io.EOF comes again
		return n, nil
	}
	return 0, errCut
}

func (c uncut) CloseWrite() error { return conn.CloseWrite(c.Conn) }

// NetConn returns the connection beneath, as tls.Conn.NetConn does.
func (c uncut) NetConn() net.Conn { return c.Conn }
