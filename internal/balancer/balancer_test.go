package balancer

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"tshx/internal/proxyserver"
	"tshx/internal/upgrade"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var authority = sync.OnceValue(func() *proxyserver.Authority {
	a, err := proxyserver.NewAuthority("lb.example.com", proxyserver.ECDSA)
	if err != nil {
		panic(err)
	}
	return a
})

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := authority().WebCertificate("balancer.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// start runs a balancer for as long as the test and returns its address.
func start(t testing.TB, o Options) string {
	t.Helper()
	o.Certificate = certificate(t)
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- b.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// proxy runs a proxy for as long as the test and returns its address.
func proxy(t testing.TB, o proxyserver.Options) string {
	t.Helper()
	o.Authority = authority()
	s, err := proxyserver.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	done := make(chan struct{})
	go func() { s.Serve(context.Background(), ln); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return ln.Addr().String()
}

func target(addr string) upgrade.Target {
	return upgrade.Target{Addr: addr, Roots: authority().Web.Pool()}
}

// A client must find out behind each kind of balancer that it needs an upgrade.
func TestDetection(t *testing.T) {
	up := proxy(t, proxyserver.Options{})
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"none", Options{}, upgrade.EvidenceNoALPN},
		{"alert", Options{ALPN: ALPNAlert}, upgrade.EvidenceAlert},
		{"unasked", Options{ALPN: ALPNUnasked}, upgrade.EvidenceUnadvertised},
		{"layer 4", Options{L4: true}, upgrade.EvidenceNoALPN},
		{"layer 4, unasked", Options{L4: true, ALPN: ALPNUnasked}, upgrade.EvidenceUnadvertised},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Upstream = up
			v := target(start(t, tt.o)).Test(t.Context())
			if v.Evidence != tt.want || !v.Required {
				t.Errorf("verdict %+v, want %s", v, tt.want)
			}
		})
	}
}

func TestUpgrades(t *testing.T) {
	for _, tt := range []struct {
		name     string
		o        Options
		behavior proxyserver.Behavior
		method   upgrade.Method
		used     upgrade.Method // empty: fails
		status   int            // of the failure
		server   string
	}{
		{name: "websocket", method: upgrade.WebSocket, used: upgrade.WebSocket},
		{name: "legacy", method: upgrade.Legacy, used: upgrade.Legacy},
		{name: "old proxy", behavior: proxyserver.V14(), method: upgrade.Auto, used: upgrade.Legacy},
		{name: "layer 4", o: Options{L4: true}, method: upgrade.Auto, used: upgrade.WebSocket},
		{name: "unasked alpn", o: Options{ALPN: ALPNUnasked}, method: upgrade.Auto, used: upgrade.WebSocket},
		{name: "websocket only", o: Options{Upgrades: UpgradesWebSocket}, method: upgrade.Auto, used: upgrade.WebSocket},
		{name: "websocket only, legacy asked", o: Options{Upgrades: UpgradesWebSocket}, behavior: proxyserver.V14(), method: upgrade.Legacy, status: 404},
		// The proxy still sees X-Teleport-Upgrade and switches, unasked in the balancer's view.
		{name: "websocket only, legacy asked of a new proxy", o: Options{Upgrades: UpgradesWebSocket}, method: upgrade.Legacy, status: 502},
		{name: "legacy refused", o: Options{Upgrades: UpgradesWebSocket, Refuse: 403, ServerName: "awselb/2.0"}, method: upgrade.Legacy, status: 403, server: "awselb/2.0"},
		{name: "all refused", o: Options{Upgrades: UpgradesNone, Refuse: 400}, method: upgrade.WebSocket, status: 400},
		{name: "header dropped", o: Options{Upgrades: UpgradesNone}, method: upgrade.WebSocket, status: 404},
		{name: "two addresses", o: Options{TwoForwardedFor: true}, method: upgrade.WebSocket, status: 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Upstream = proxy(t, proxyserver.Options{Behavior: tt.behavior, TrustForwardedFor: true})
			c, used, err := target(start(t, tt.o)).Connect(t.Context(), upgrade.ALPN, tt.method)
			if tt.used == "" {
				var refused *upgrade.RefusedError
				if !errors.As(err, &refused) {
					t.Fatalf("error %v, want a refusal", err)
				}
				if refused.Status != tt.status || refused.Server != tt.server {
					t.Errorf("refused with %d by %q, want %d by %q", refused.Status, refused.Server, tt.status, tt.server)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if used != tt.used {
				t.Errorf("used %s, want %s", used, tt.used)
			}
			inner := tls.Client(c, &tls.Config{ServerName: "localhost", RootCAs: authority().Host.Pool(), NextProtos: []string{"http/1.1"}})
			io.WriteString(inner, "GET /webapi/find HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(inner), nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v, %v", resp, err)
			}
			resp.Body.Close()
		})
	}
}

// A PROXY header tells the proxy whose connection it is, for each request anew.
func TestSendProxy(t *testing.T) {
	var log logged
	up := proxy(t, proxyserver.Options{ProxyProtocol: proxyserver.ProxyProtocolOn, Log: slog.New(slog.NewTextHandler(&log, nil))})
	for name, o := range map[string]Options{"layer 7": {SendProxy: true}, "layer 4": {SendProxy: true, L4: true}, "no header": {}} {
		o.Upstream = up
		addr := start(t, o)
		for range 2 {
			raw, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "localhost", RootCAs: authority().Web.Pool()})
			if err != nil {
				t.Fatal(err)
			}
			// A method that is refused leaves a line in the log.
			io.WriteString(raw, "GET "+upgrade.Path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(raw), nil)
			if answered := err == nil && resp.StatusCode == http.StatusNotFound; answered != o.SendProxy {
				t.Errorf("%s: %v, %v", name, resp, err)
			}
			if err == nil {
				resp.Body.Close()
			}
			if told := strings.Contains(log.String(), "remote="+raw.LocalAddr().String()+" "); told != o.SendProxy {
				t.Errorf("%s: no %s in\n%s", name, raw.LocalAddr(), log.String())
			}
			raw.Close()
		}
	}
}

// logged collects a log.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rawBackend is a TLS server that hands its connections to serve.
func rawBackend(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	ln := tls.NewListener(listen(t), &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); serve(c) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// Bytes that follow the request or the 101 without a pause must arrive.
func TestEarlyBytes(t *testing.T) {
	addr := start(t, Options{Upstream: rawBackend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		req.Body.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfrom the server;")
		b := make([]byte, len("from the client"))
		io.ReadFull(br, b)
		c.Write(b)
	})})
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "localhost", RootCAs: authority().Web.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfrom the client")
	b, err := io.ReadAll(c)
	_, stream, _ := strings.Cut(string(b), "\r\n\r\n")
	if want := "from the server;from the client"; err != nil || stream != want {
		t.Errorf("stream %q, %v; want %q", stream, err, want)
	}
}

func TestForwardedFor(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		sent []string
		want []string
	}{
		{"added", Options{}, nil, []string{"127.0.0.1"}},
		{"appended", Options{}, []string{"203.0.113.9"}, []string{"203.0.113.9, 127.0.0.1"}},
		{"twice", Options{TwoForwardedFor: true}, nil, []string{"127.0.0.1", "127.0.0.1"}},
	} {
		for _, header := range []string{"", "Upgrade"} {
			t.Run(tt.name+" "+header, func(t *testing.T) {
				got := make(chan []string, 1)
				tt.o.Upstream = rawBackend(t, func(c net.Conn) {
					req, err := http.ReadRequest(bufio.NewReader(c))
					if err != nil {
						return
					}
					req.Body.Close()
					got <- req.Header.Values("X-Forwarded-For")
					io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
				})
				req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+start(t, tt.o)+"/", nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range tt.sent {
					req.Header.Add("X-Forwarded-For", v)
				}
				if header != "" {
					req.Header.Set("Connection", "Upgrade")
					req.Header.Set("Upgrade", "x")
				}
				tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority().Web.Pool()}}
				defer tr.CloseIdleConnections()
				resp, err := tr.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if diff := cmp.Diff(tt.want, <-got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// A silent connection is cut, on either layer.
func TestIdle(t *testing.T) {
	for _, l4 := range []bool{false, true} {
		up := proxy(t, proxyserver.Options{})
		c, _, err := target(start(t, Options{Upstream: up, L4: l4, Idle: time.Second})).Connect(t.Context(), upgrade.ALPN, upgrade.Legacy)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetReadDeadline(time.Now().Add(time.Minute)) // the proxy itself would end it a minute later
		_, err = c.Read(make([]byte, 1))
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("layer 4 %v: not cut", l4)
		}
	}
}

// Bytes in either direction keep a connection alive, pings of the proxy too.
func TestIdleTime(t *testing.T) {
	for _, fromClient := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := &Balancer{opts: Options{Idle: time.Second}, ctx: t.Context(), log: slog.New(slog.DiscardHandler)}
			client, front := net.Pipe()
			back, upstream := net.Pipe()
			done := make(chan struct{})
			go func() { b.splice(front, back); close(done) }()
			from, to := client, upstream
			if !fromClient {
				from, to = upstream, client
			}
			go io.Copy(io.Discard, to)
			for range 10 {
				if _, err := from.Write([]byte{0}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(900 * time.Millisecond)
			}
			start := time.Now()
			<-done
			if silent := time.Since(start) + 900*time.Millisecond; silent != time.Second {
				t.Errorf("cut after %v of silence", silent)
			}
			client.Close()
			upstream.Close()
		})
	}
}

func TestUpstreamDown(t *testing.T) {
	addr := start(t, Options{Upstream: "127.0.0.1:1"})
	_, _, err := target(addr).Connect(t.Context(), upgrade.ALPN, upgrade.WebSocket)
	var refused *upgrade.RefusedError
	if !errors.As(err, &refused) || refused.Status != http.StatusBadGateway {
		t.Errorf("error %v, want 502", err)
	}
}

func TestOptions(t *testing.T) {
	good := Options{Upstream: "127.0.0.1:1", Certificate: certificate(t)}
	for name, change := range map[string]func(*Options){
		"alpn":        func(o *Options) { o.ALPN = "h3" },
		"upgrades":    func(o *Options) { o.Upgrades = "some" },
		"refuse":      func(o *Options) { o.Refuse = 200 },
		"upstream":    func(o *Options) { o.Upstream = "" },
		"certificate": func(o *Options) { o.Certificate = tls.Certificate{} },
	} {
		o := good
		change(&o)
		if b, err := New(o); err == nil {
			b.Close()
			t.Errorf("%s accepted", name)
		}
	}
}
