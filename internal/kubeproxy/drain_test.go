package kubeproxy_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"tshx/internal/localproxy"
)

// A drain does not wait for connections that carry nothing yet.
func TestDrainOfFresh(t *testing.T) {
	handshake := func(w *world, protocols ...string) *tls.Conn {
		cfg := w.clientTLS()
		cfg.NextProtos = protocols
		c := tls.Client(w.connect(), cfg)
		if err := c.Handshake(); err != nil {
			t.Error(err)
		}
		return c
	}
	for name, open := range map[string]func(w *world) net.Conn{
		"nothing": func(w *world) net.Conn {
			c, err := net.Dial("tcp", w.Addr)
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		"connect":          func(w *world) net.Conn { return w.connect() },
		"handshake":        func(w *world) net.Conn { return handshake(w) },
		"http2, no prefix": func(w *world) net.Conn { return handshake(w, "h2") },
		"half a head": func(w *world) net.Conn {
			c := handshake(w)
			io.WriteString(c, "GET / HTTP/1.1\r\n")
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opened := make(chan localproxy.Connection, 1)
			w := newWorld(t, unused, func(w *world) {
				w.options.Opened = func(c localproxy.Connection) { opened <- c }
			})
			c := open(w)
			defer c.Close()
			<-opened
			w.Stop()
			select {
			case <-w.Ended:
			case <-time.After(4 * time.Second): // net/http would wait for 5
				t.Error("the drain waits for it")
			}
		})
	}
}
