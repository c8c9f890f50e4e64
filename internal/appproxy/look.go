package appproxy

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"tshx/internal/conn"
)

// Bounds of the look at a client.
const (
	// lookSilence is how long a client may say nothing before it is taken for one
	// that waits for the server: those of web applications speak at once. It is also
	// how long one may leave it at words that need not be HTTP.
	lookSilence = 300 * time.Millisecond
	// lookTime bounds the wait for the rest of a request line.
	lookTime = 5 * time.Second
	// lookBytes is the longest request line. Those of real clients end at 8 KiB.
	lookBytes = 64 << 10
	// lookShort is the shortest line of a request. Browsers write theirs at once, so
	// that less than this of a method nobody knows is no request of a page.
	lookShort = len("Q / HTTP/1.1\r\n")
)

// ErrClientTLS says that a client wants TLS where there is none.
var ErrClientTLS = errors.New("the client speaks TLS, and this port takes plain HTTP")

// look is what a client said first.
type look struct {
	first  []byte // read so far
	http   bool   // it is to be served as a client of HTTP
	silent bool   // it has said nothing for as long as it may
	// patience takes the place of lookSilence, if it is not zero.
	patience time.Duration
}

// at reads c until it is clear what the client speaks. known is what the
// application does: clients of one of HTTP may be silent for ever, as browsers
// are that connect ahead of their requests.
func (l *look) at(c net.Conn, known Protocol) error {
	defer c.SetReadDeadline(time.Time{})
	var end time.Time // of the request line
	for buf := make([]byte, 1<<10); ; {
		if len(l.first) > 0 {
			if end.IsZero() {
				end = time.Now().Add(lookTime)
			}
			is := judge(l.first)
			l.http = is == isHTTP
			if is != isOpen || len(l.first) >= lookBytes {
				return nil
			}
			if len(l.first) < lookShort && known != HTTP && !begins(l.first) {
				return nil
			}
		}
		c.SetReadDeadline(l.until(end, known))
		n, err := c.Read(buf)
		l.first = append(l.first, buf[:n]...)
		switch {
		case n > 0 || err == nil:
		case isTimeout(err):
			l.silent = len(l.first) == 0
			l.http = begins(l.first) || known == HTTP
			return nil
		case conn.Orderly(err): // the next reader finds it again
			l.http = known == HTTP
			return nil
		default:
			return gone(err)
		}
	}
}

func gone(err error) error {
	return fmt.Errorf("%w before its first message: %w", conn.ErrClientGone, err)
}

// until returns when the next bytes have to be there. end is the last time for
// those of a request line.
func (l *look) until(end time.Time, known Protocol) time.Time {
	soon := time.Now().Add(cmp.Or(l.patience, lookSilence))
	switch {
	case len(l.first) == 0 && known == HTTP:
		return time.Time{}
	case len(l.first) > 0 && (begins(l.first) || known == HTTP || soon.After(end)):
		return end
	}
	return soon
}

// begins reports whether first is how requests of HTTP begin: with one of its own
// methods (RFC 9110, section 9; RFC 5789), as far as that has come.
func begins(first []byte) bool {
	for _, method := range []string{"GET ", "POST ", "PUT ", "PATCH ", "DELETE ", "HEAD ", "OPTIONS ", "TRACE ", "CONNECT "} {
		if n := min(len(first), len(method)); n > 0 && string(first[:n]) == method[:n] {
			return true
		}
	}
	return false
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// verdict is what a client's first bytes are.
type verdict int

const (
	isOpen  verdict = iota // may become anything
	isHTTP                 // a request line of HTTP/1.x
	isTLS                  // a ClientHello
	isOther                // neither
)

// judge looks at the first bytes of a client. Once it does not say isOpen any
// more, further bytes do not change what it says.
//
// A request line has to be there as far as its version (RFC 9112, section 3):
// Redis has a command GET, too, and gRPC begins with PRI and 2.0.
func judge(first []byte) verdict {
	if len(first) > 1 && first[0] == handshake {
		if first[1] == 3 {
			return isTLS
		}
		return isOther
	}
	if len(first) == 1 && first[0] == handshake {
		return isOpen
	}
	rest := first
	for _, belongs := range []func(byte) bool{isToken, isVisible} { // method and target
		n := 0
		for n < len(rest) && belongs(rest[n]) {
			n++
		}
		if n == len(rest) {
			return isOpen
		}
		if n == 0 || rest[n] != ' ' {
			return isOther
		}
		rest = rest[n+1:]
	}
	const version = "HTTP/1."
	switch n := min(len(rest), len(version)); {
	case string(rest[:n]) != version[:n]:
		return isOther
	case n < len(version):
		return isOpen
	}
	return isHTTP
}

// handshake begins a TLS record (RFC 8446, section 5.1), with 3 behind it.
const handshake = 0x16

// isToken reports whether c may be in a method (RFC 9110, section 5.6.2).
func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isVisible reports whether c may be in a target. Clients send more than they
// should.
func isVisible(c byte) bool { return c > ' ' && c != 0x7f }
