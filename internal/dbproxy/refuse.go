package dbproxy

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"tshx/internal/conn"
)

// Bounds of a refusal.
const (
	refuseTime = 5 * time.Second        // for the client to say what it must, and to take the answer
	refuseLook = 100 * time.Millisecond // for a client to speak that should wait for the server
	refuseEnd  = time.Second            // for it to end its own side after that
)

// Refuse tells a client why it gets no database, in the protocol that the client
// speaks: the engine's as a rule, another engine's if its first bytes are that,
// and a TLS alert where it has begun TLS. It sets r.Tunnel and r.WebPage. It
// takes refuseTime and refuseEnd at most, and the caller closes client, which
// must replay what has been read from it.
func (u *Upstream) Refuse(client net.Conn, r Refusal) {
	r.Tunnel = u.Tunnel
	deadline := time.Now().Add(refuseTime)
	client.SetDeadline(deadline)
	client, first := u.firstWords(client, deadline)
	r.WebPage = u.judgePage(client, first) != nil
	// A refusal that fails has nobody to tell: the client has left, or listens to
	// nothing.
	switch other := u.Engine.foreign(first); {
	case beginsTLS(first):
		refuseTLS(client, r)
	case other == nil:
		u.Engine.Refuse(client, r)
	case speaksHTTP(first) && other.ALPN != u.Engine.ALPN: // some HTTP client: which engine's, nobody knows
		refuseHTTP(client, r, strayHTTP)
	default:
		r.Tunnel = true // it begins without TLS, and ours it would not get
		other.Refuse(client, r)
	}
	if conn.CloseWrite(client) == nil {
		client.SetReadDeadline(time.Now().Add(refuseEnd))
		// Closed with bytes unread, TCP would be reset and the answer lost.
		io.Copy(io.Discard, client)
	}
}

// firstWords returns the first bytes that a client sends, and the connection
// with them replayed. A client that should wait for the server is waited for
// only briefly.
func (u *Upstream) firstWords(client net.Conn, deadline time.Time) (net.Conn, []byte) {
	if u.Engine.ServerFirst {
		client.SetReadDeadline(time.Now().Add(refuseLook))
	}
	first, _ := u.words(client) // what went wrong goes wrong again in the refusal
	client.SetReadDeadline(deadline)
	return conn.Buffered(client, first), first
}

// asciiLine makes a text fit for every protocol and terminal: one line of
// printable ASCII that begins with no sign of a protocol's own.
func asciiLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f:
			return ' '
		case r > 0x7e:
			return '?'
		}
		return r
	}, s)
	return strings.TrimLeft(strings.Join(strings.Fields(s), " "), "# ")
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
