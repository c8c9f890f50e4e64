package appproxy

import (
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
	// that waits for the server: those of web applications speak at once.
	lookSilence = 300 * time.Millisecond
	// lookTime bounds the whole look.
	lookTime = 5 * time.Second
	// lookBytes is the longest request line. Those of real clients end at 8 KiB.
	lookBytes = 64 << 10
)

// ErrClientTLS says that a client wants TLS where there is none.
var ErrClientTLS = errors.New("the client speaks TLS, and this port takes plain HTTP")

// look is what a client said first.
type look struct {
	first []byte // read so far
	http  bool   // it is to be served as a client of HTTP
}

// at reads c until it is clear what the client speaks. only is what clients are
// told to speak. Where the application is known to be one of HTTP (web), a silent
// client connects ahead of its requests, as browsers do.
func (l *look) at(c net.Conn, only Protocol, web bool) error {
	end := time.Now().Add(lookTime)
	defer c.SetReadDeadline(time.Time{})
	for buf := make([]byte, 4<<10); ; {
		until := time.Now().Add(lookSilence)
		switch {
		case web && len(l.first) == 0:
			until = time.Time{}
		case until.After(end):
			until = end
		}
		c.SetReadDeadline(until)
		n, err := c.Read(buf)
		l.first = append(l.first, buf[:n]...)
		is := judge(l.first)
		ended := err != nil && (conn.Orderly(err) || isTimeout(err)) // the next reader finds it again
		switch {
		case is == isHTTP:
			l.http = true
			return nil
		case is == isTLS && only == HTTP:
			return ErrClientTLS
		case is != isOpen, ended, err == nil && len(l.first) >= lookBytes:
			l.http = only == HTTP // it will be told
			return nil
		case err != nil:
			return fmt.Errorf("%w before its first message: %w", conn.ErrClientGone, err)
		}
	}
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
