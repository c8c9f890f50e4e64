package kubeproxy_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tshx/internal/balancer"
	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// behind puts the server half and a layer-7 balancer that cuts idle connections
// in front of an API server. It returns the address of the balancer.
func behind(t *testing.T, idle time.Duration, b proxyserver.Behavior, api http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(api)
	t.Cleanup(s.Close)
	p, err := proxyserver.New(proxyserver.Options{
		Authority: authority(), PublicAddr: "proxy.example.com:443", Behavior: b, PingInterval: idle / 25,
		Kubes: []proxyserver.Kube{{Name: "k", Server: s.URL}},
	})
	if err != nil {
		t.Fatal(err)
	}
	front, err := authority().WebCertificate("proxy.example.com")
	if err != nil {
		t.Fatal(err)
	}
	up := listen(t)
	l, err := balancer.New(balancer.Options{Upstream: up.Addr().String(), Certificate: front, Idle: idle})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	served := make(chan bool)
	go func() { p.Serve(context.Background(), up); served <- true }()
	go func() { l.Serve(context.Background(), ln); served <- true }()
	t.Cleanup(func() { l.Close(); p.Close(); <-served; <-served })
	return ln.Addr().String()
}

// Quiet watches and sessions outlive a balancer that cuts idle connections. The
// server half pings here; tlsroute tests that the client does so, too.
func TestKeepAlive(t *testing.T) {
	for name, b := range map[string]proxyserver.Behavior{"websocket": {NoLegacy: true}, "legacy": proxyserver.V14()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			later := make(chan bool)
			addr := behind(t, 1500*time.Millisecond, b, func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") != "" {
					switchTo(t, "early ", func(c *bufio.ReadWriter, half, _ func()) {
						<-later
						in, _ := c.ReadString('\n')
						io.WriteString(c, "heard "+in)
						c.Flush()
					})(rw, r)
					return
				}
				io.WriteString(rw, "early ")
				http.NewResponseController(rw).Flush()
				<-later
				io.WriteString(rw, "late")
			})
			target := upgrade.Target{Addr: addr, Roots: authority().Web.Pool()}
			w := newWorld(t, nil, func(w *world) {
				w.options.Clusters[0].Name = "k"
				w.options.Dialer = &tlsroute.Dialer{
					Finder:  &tlsroute.Finder{Target: target, Profile: &tlsroute.Way{Upgrade: true, At: time.Now()}},
					HostCAs: func() (*x509.CertPool, error) { return authority().Host.Pool(), nil },
				}
			})
			watch, err := w.client(true).Get(w.Proxy.URL(0) + "/watch")
			if err != nil {
				t.Fatal(err)
			}
			session, br, res := w.exec("SPDY/3.1", "")
			if watch.StatusCode != 200 || res.StatusCode != 101 {
				t.Fatalf("%s and %s", watch.Status, res.Status)
			}
			for range 3 { // one after another, each for as long as it takes to be cut
				waitCut(t, target)
			}
			close(later)
			io.WriteString(session, "and late\n")
			if got := readAll(t, io.NopCloser(br)); got != "early heard and late\n" {
				t.Errorf("session: %q", got)
			}
			session.Close()
			if got := readAll(t, watch.Body); got != "early late" {
				t.Errorf("watch: %q", got)
			}
		})
	}
}

// waitCut opens a connection that nobody pings and waits for its end.
func waitCut(t *testing.T, target upgrade.Target) {
	t.Helper()
	c, _, err := target.Connect(t.Context(), upgrade.ALPN, upgrade.Auto)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(time.Minute)) // the proxy itself would end it a minute later
	_, err = c.Read(make([]byte, 1))
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("the balancer does not cut")
	}
}
