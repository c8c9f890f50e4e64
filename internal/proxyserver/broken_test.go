package proxyserver

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"tshx/internal/upgrade"
)

// cutOff ends the connections beneath TLS as the death of a client or a balancer
// does: without a word of TLS.
func cutOff(t testing.TB, c *tls.Conn) {
	t.Helper()
	if err := c.NetConn().(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// What a client had not sent yet when it was cut off is not taken for complete by
// what is behind the proxy, on either way.
func TestCutClient(t *testing.T) {
	read := make(chan error, 1)
	f := start(t, Options{Apps: []App{{Name: "sink", URI: "tcp://" + backend(t, func(c net.Conn) {
		io.ReadFull(c, make([]byte, 5))
		_, err := c.Read(make([]byte, 1))
		read <- err
	})}}})
	cert := newUser(t).tls(appRoute("sink"))
	for _, way := range []string{"direct", string(upgrade.Legacy)} {
		t.Run(way, func(t *testing.T) {
			f.t = t
			c := f.dialAs(t, way, cert, "teleport-tcp")
			io.WriteString(c, "hello")
			cutOff(t, c)
			if err := waitFor(t, "the end at the app", read); err == io.EOF {
				t.Error("what was cut looks complete")
			}
		})
	}
}

// dialAs is dial, where way is not "direct" by an upgrade of that method.
func (f *fixture) dialAs(t testing.TB, way string, cert *tls.Certificate, alpn string) *tls.Conn {
	t.Helper()
	if way == "direct" {
		return f.dial(cert, alpn)
	}
	target := upgrade.Target{Addr: f.addr, Roots: testAuthority().Web.Pool()}
	outer, _, err := target.Connect(t.Context(), upgrade.ALPN, upgrade.Method(way))
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(outer, config(testAuthority().Host.Pool(), cert, alpn))
	t.Cleanup(func() { outer.Close() })
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// The same behind a change of protocol.
func TestCutUpgrade(t *testing.T) {
	read := make(chan error, 1)
	f := start(t, Options{Apps: []App{appServer(t, func(w http.ResponseWriter, r *http.Request) {
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
		buf.Flush()
		_, err = buf.ReadByte()
		read <- err
	})}})
	c := f.dial(newUser(t).tls(appRoute("app")), "http/1.1")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	cutOff(t, c)
	if err := waitFor(t, "the end at the app", read); err == io.EOF {
		t.Error("what was cut looks complete")
	}
}

// HTTP/1.0 knows the end of an answer by that of the connection alone.
func TestBrokenHTTP10(t *testing.T) {
	f := start(t, Options{Apps: []App{appServer(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half of it")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})}})
	c := f.dial(newUser(t).tls(appRoute("app")), "http/1.1")
	io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	if b, err := io.ReadAll(c); err == nil && len(b) > 0 {
		t.Errorf("%q looks complete", b)
	}
}
