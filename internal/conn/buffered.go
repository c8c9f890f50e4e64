package conn

import (
	"net"
	"slices"
)

// Buffered returns a connection that first yields the bytes of ahead and then
// reads on from c. It serves code that had to read too far: behind a sniffed
// ClientHello, behind an HTTP response that switches protocols.
//
// It keeps a copy of ahead. Half-closes, deadlines and Close go to c; the
// caller closes the returned connection instead of c.
func Buffered(c net.Conn, ahead []byte) net.Conn {
	if len(ahead) == 0 {
		return c
	}
	return &buffered{Conn: c, ahead: slices.Clone(ahead)}
}

type buffered struct {
	net.Conn
	ahead []byte
}

func (b *buffered) Read(p []byte) (int, error) {
	if len(b.ahead) > 0 {
		n := copy(p, b.ahead)
		if b.ahead = b.ahead[n:]; len(b.ahead) == 0 {
			b.ahead = nil
		}
		return n, nil
	}
	return b.Conn.Read(p)
}

func (b *buffered) CloseWrite() error { return CloseWrite(b.Conn) }

// NetConn returns the connection beneath, as tls.Conn.NetConn does.
func (b *buffered) NetConn() net.Conn { return b.Conn }

// Polled says that a temporary error of the connection beneath does no harm.
func (b *buffered) Polled() net.Conn { return b.Conn }
