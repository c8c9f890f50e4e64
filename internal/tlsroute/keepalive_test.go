package tlsroute_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tshx/internal/accept"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// quiet is a connection that notes for how long nothing was read or written.
type quiet struct {
	net.Conn
	mu              sync.Mutex
	read, written   time.Time
	silent, unheard time.Duration // the longest pauses of writing and reading
}

func (q *quiet) note(last *time.Time, longest *time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if !last.IsZero() {
		*longest = max(*longest, now.Sub(*last))
	}
	*last = now
}

func (q *quiet) Read(p []byte) (int, error) {
	n, err := q.Conn.Read(p)
	q.note(&q.read, &q.unheard)
	return n, err
}

func (q *quiet) Write(p []byte) (int, error) {
	q.note(&q.written, &q.silent)
	return q.Conn.Write(p)
}

// TestUpgradeKeepsAlive: inside of an upgrade, a route without ping framing of its
// own is never silent for long, in either direction.
func TestUpgradeKeepsAlive(t *testing.T) {
	for _, r := range []tlsroute.Route{
		{Name: "ssh", ALPN: []string{tlsroute.ALPNSSH}, HostCert: true},
		{Name: "kube", ALPN: []string{tlsroute.ALPNHTTP1}, ServerName: tlsroute.KubeFallback, HostCert: true},
		{Name: "app", ALPN: []string{tlsroute.ALPNHTTP1}},
	} {
		t.Run(r.Name+" websocket", func(t *testing.T) { keepsAlive(t, r, &upgrade.Handler{NoLegacy: true}) })
		t.Run(r.Name+" legacy", func(t *testing.T) { keepsAlive(t, r, &upgrade.Handler{NoWebSocket: true}) })
	}
}

func keepsAlive(t *testing.T, r tlsroute.Route, h *upgrade.Handler) {
	host, err := authority().HostCertificate("proxy.example.com", tlsroute.KubeFallback)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	inBubble(t, func(t *testing.T) {
		time.Sleep(time.Until(now)) // to when certificates hold
		// Nobody reads tickets while the client writes, and a pipe holds nothing.
		cfg := &tls.Config{Certificates: []tls.Certificate{host}, NextProtos: r.ALPN, SessionTicketsDisabled: true}
		h.Serve = func(_ context.Context, c net.Conn) {
			inner := tls.Server(c, cfg)
			io.Copy(inner, inner)
			inner.Close()
		}
		queue := accept.NewQueue(&net.TCPAddr{})
		web := &http.Server{Handler: h, TLSConfig: cfg, Protocols: new(http.Protocols)}
		web.Protocols.SetHTTP1(true)
		go web.ServeTLS(queue, "", "")
		defer web.Close()
		var line *quiet
		d := &tlsroute.Dialer{
			Finder: &tlsroute.Finder{
				Target: upgrade.Target{Addr: "proxy.example.com:443", Insecure: true, Dial: func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					line = &quiet{Conn: client}
					return line, queue.Put(t.Context(), server)
				}},
				Profile: &tlsroute.Way{Upgrade: true, At: time.Now()},
			},
			HostCAs: func() (*x509.CertPool, error) { return authority().Host.Pool(), nil },
		}
		c, err := d.Dial(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string)
		go func() { // pings get to a reader only
			buf := make([]byte, 4)
			io.ReadFull(c, buf)
			heard <- string(buf)
			io.Copy(io.Discard, c)
		}()
		time.Sleep(time.Hour)
		if _, err := io.WriteString(c, "ding"); err != nil {
			t.Fatal(err)
		}
		if s := <-heard; s != "ding" {
			t.Errorf("heard %q", s)
		}
		line.Close() // not c: goodbyes do not pass a pipe without a reader
		c.Close()
		synctest.Wait()
		line.mu.Lock()
		defer line.mu.Unlock()
		if line.silent != upgrade.KeepAlive || line.unheard != upgrade.PingInterval {
			t.Errorf("the client was silent for %v, and the proxy for %v", line.silent, line.unheard)
		}
	})
}
