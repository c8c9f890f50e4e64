package egress

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// socksProxy is a SOCKS5 server (RFC 1928, RFC 1929) that then is the target
// itself. It passes what it was asked for to seen.
func socksProxy(user, password string, status byte, seen chan<- string) func(net.Conn) {
	return func(c net.Conn) {
		h := make([]byte, 2)
		io.ReadFull(c, h)
		methods := make([]byte, h[1])
		io.ReadFull(c, methods)
		if user == "" {
			c.Write([]byte{5, 0})
		} else {
			c.Write([]byte{5, 2})
			u, p := readCounted(c, 1), readCounted(c, 0)
			if u != user || p != password {
				c.Write([]byte{1, 1})
				return
			}
			c.Write([]byte{1, 0})
		}
		head := make([]byte, 4)
		io.ReadFull(c, head)
		host := readCounted(c, 0) // a name: the lookup is left to the proxy
		port := make([]byte, 2)
		io.ReadFull(c, port)
		seen <- host + ":" + strconv.Itoa(int(port[0])<<8+int(port[1]))
		// The target's first bytes come in the same packet.
		c.Write(append([]byte{5, status, 0, 1, 0, 0, 0, 0, 0, 0}, "early"...))
		if status == 0 {
			reply(c)
		}
	}
}

// readCounted skips some bytes and reads a string behind its length.
func readCounted(r io.Reader, skip int) string {
	b := make([]byte, skip+1)
	io.ReadFull(r, b)
	s := make([]byte, b[skip])
	io.ReadFull(r, s)
	return string(s)
}

func TestSOCKS(t *testing.T) {
	for _, tc := range []struct {
		name, scheme, user, password, asUser string
		status                               byte
		text                                 string // of the error
	}{
		{name: "open", scheme: "socks5"},
		{name: "socks5h", scheme: "socks5h"},
		{name: "credentials", scheme: "socks5", user: "al@ice", password: "p:w", asUser: "al%40ice:p%3Aw@"},
		{name: "wrong password", scheme: "socks5", user: "alice", password: "right", asUser: "alice:secret@", text: "authentication failed"},
		{name: "refused", scheme: "socks5", asUser: "alice:secret@", status: 5, text: "connection refused"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			seen := make(chan string, 1)
			at := serve(t, socksProxy(tc.user, tc.password, tc.status, seen))
			d := &Dialer{Getenv: env("HTTPS_PROXY", tc.scheme+"://"+tc.asUser+at)}
			c, err := d.DialContext(t.Context(), "tcp", addr)
			if tc.text != "" {
				pe, ok := errors.AsType[*ProxyError](err)
				if !ok || !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error()+pe.Hint(), "secret") || c != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			must(t, err)
			converse(t, c, "early")
			if got := <-seen; got != addr {
				t.Errorf("asked for %q", got)
			}
		})
	}
}
