package survey

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"tshx/internal/balancer"
	"tshx/internal/proxyserver"
	"tshx/internal/upgrade"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const cluster = "survey.example.com"

var authority = sync.OnceValue(func() *proxyserver.Authority { return newAuthority(cluster) })

func newAuthority(name string) *proxyserver.Authority {
	a, err := proxyserver.NewAuthority(name, proxyserver.ECDSA)
	if err != nil {
		panic(err)
	}
	return a
}

func webCertificate(t testing.TB, hosts ...string) tls.Certificate {
	t.Helper()
	c, err := authority().WebCertificate(hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// server is something that serves a listener until it is closed.
type server interface {
	Serve(context.Context, net.Listener) error
	Close() error
}

// serve runs a server for as long as the test and returns its address.
func serve(t testing.TB, s server, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if l, ok := s.(*listener); ok {
		l.Listener = ln
	}
	done := make(chan struct{})
	go func() { s.Serve(context.Background(), ln); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return "localhost:" + port
}

func proxy(t testing.TB, o proxyserver.Options) string {
	o.Authority = authority()
	s, err := proxyserver.New(o)
	return serve(t, s, err)
}

func behind(t testing.TB, o balancer.Options, p proxyserver.Options) string {
	o.Upstream, o.Certificate = proxy(t, p), webCertificate(t)
	b, err := balancer.New(o)
	return serve(t, b, err)
}

// listener accepts connections by hand.
type listener struct {
	handle func(net.Conn)
	net.Listener
	wg sync.WaitGroup
}

func (l *listener) Serve(_ context.Context, ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			l.wg.Wait()
			return err
		}
		l.wg.Go(func() { defer c.Close(); l.handle(c) })
	}
}

func (l *listener) Close() error { return l.Listener.Close() }

func byHand(t testing.TB, cfg *tls.Config, handle func(net.Conn)) string {
	return serve(t, &listener{handle: func(c net.Conn) {
		if cfg != nil {
			c = tls.Server(c, cfg)
		}
		handle(c)
	}}, nil)
}

// website is a TLS server that is no proxy.
func website(t testing.TB, cert tls.Certificate, h http.HandlerFunc) string {
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	return "localhost:" + port
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://login.example.com/start?secret=1")
		w.WriteHeader(code)
		io.WriteString(w, "<html><title>hello</title></html>")
	}
}

// look makes a survey with the web CA trusted.
func look(t testing.TB, addr string, change func(*Options)) *Report {
	t.Helper()
	o := Options{Target: upgrade.Target{Addr: addr, Roots: authority().Web.Pool()}, HostCAs: authority().Host.Pool()}
	if change != nil {
		change(&o)
	}
	return Run(t.Context(), o)
}

// outcome writes the checks as one word: p, f or s for each.
func outcome(r *Report) string {
	var b strings.Builder
	for _, c := range r.Checks {
		b.WriteByte(c.Status[0])
		if (c.Status == Failed) != (c.Err != nil) || c.Status == Skipped && c.Took != 0 {
			return fmt.Sprintf("%+v does not fit together", c)
		}
	}
	return b.String()
}

// The order is: dns, tcp, tls, raw, host certificate, front, http, and four upgrades.
func TestSurvey(t *testing.T) {
	yes, no := true, false
	self := httptest.NewUnstartedServer(http.NotFoundHandler())
	self.StartTLS()
	defer self.Close()
	selfSigned := self.TLS.Certificates[0]
	for _, tt := range []struct {
		name   string
		addr   func(t testing.TB) string
		change func(*Options)
		wish   Wish
		want   string // outcome
		way    string
		err    string // part of why it fails; empty: it works
		proves string // part of what the test connection proves
		said   string // part of the evidence
	}{
		{name: "v17", addr: func(t testing.TB) string { return proxy(t, proxyserver.Options{}) },
			want: "ppppppppppp", way: "raw", proves: "no upgrade is needed"},
		{name: "v14", addr: func(t testing.TB) string { return proxy(t, proxyserver.Options{Behavior: proxyserver.V14()}) },
			want: "pppppppffpp", way: "raw"},
		{name: "v17, forced", addr: func(t testing.TB) string { return proxy(t, proxyserver.Options{}) }, wish: Wish{Upgrade: &yes},
			want: "ppppppppppp", way: "websocket"},
		{name: "v17, forced to legacy", addr: func(t testing.TB) string { return proxy(t, proxyserver.Options{}) }, wish: Wish{Upgrade: &yes, Method: upgrade.Legacy},
			want: "ppppppppppp", way: "legacy"},
		{name: "other cluster's login", addr: func(t testing.TB) string { return proxy(t, proxyserver.Options{}) },
			change: func(o *Options) { o.HostCAs = newAuthority(cluster).Host.Pool() },
			want:   "ppppfppffff", way: "raw", err: "host certificate"},
		{name: "no login", addr: func(t testing.TB) string { return proxy(t, proxyserver.Options{}) },
			change: func(o *Options) { o.HostCAs = nil }, want: "ppppppppppp", way: "raw"},

		{name: "no alpn", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{}, proxyserver.Options{})
		}, want: "pppfspppppp", way: "websocket", proves: "does not pass ALPN on", said: "TLS ends on the way"},
		{name: "no alpn, forced raw", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{}, proxyserver.Options{})
		}, wish: Wish{Upgrade: &no}, want: "pppfsppppp p", way: "raw", err: "no protocol negotiated"},
		{name: "alert", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{ALPN: balancer.ALPNAlert}, proxyserver.Options{})
		}, want: "pppfspppppp", way: "websocket", proves: "knows other protocols only", said: "browsers are given http/1.1"},
		{name: "unasked", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{ALPN: balancer.ALPNUnasked}, proxyserver.Options{})
		}, want: "pppfspppppp", way: "websocket", proves: "selects what was not offered"},
		{name: "v14 behind", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{}, proxyserver.Options{Behavior: proxyserver.V14()})
		}, want: "pppfsppffpp", way: "legacy"},
		{name: "websocket only", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{Upgrades: balancer.UpgradesWebSocket, Refuse: 403, ServerName: "awselb/2.0"}, proxyserver.Options{})
		}, want: "pppfspppp" + "ff", way: "websocket", said: "legacy upgrade of type alpn is answered 403, and not by the proxy"},
		{name: "websocket only, v14", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{Upgrades: balancer.UpgradesWebSocket}, proxyserver.Options{Behavior: proxyserver.V14()})
		}, want: "pppfsppffff", way: "upgrade", err: "refused the connection upgrade", said: "without its Upgrade header"},
		{name: "none, 400", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{Upgrades: balancer.UpgradesNone, Refuse: 400}, proxyserver.Options{})
		}, want: "pppfsppffff", way: "upgrade", err: "400 Bad Request", said: "answered 400"},
		{name: "none, 429", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{Upgrades: balancer.UpgradesWebSocket, Refuse: 429}, proxyserver.Options{})
		}, want: "pppfsppppff", way: "websocket"},
		{name: "websocket limited", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{Upgrades: balancer.UpgradesNone, Refuse: 429}, proxyserver.Options{})
		}, want: "pppfsppffff", way: "upgrade", err: "429"},
		{name: "header dropped", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{Upgrades: balancer.UpgradesNone}, proxyserver.Options{})
		}, want: "pppfsppffff", way: "upgrade", err: "404", said: "reaches the proxy without its Upgrade header"},
		{name: "two addresses", addr: func(t testing.TB) string {
			return behind(t, balancer.Options{TwoForwardedFor: true}, proxyserver.Options{TrustForwardedFor: true})
		}, want: "pppfspfffff", way: "upgrade", err: "X-Forwarded-For"},

		{name: "page", addr: func(t testing.TB) string { return website(t, webCertificate(t), status(200)) },
			want: "pppfspfffff", way: "upgrade", err: "200 OK"},
		{name: "redirect", addr: func(t testing.TB) string { return website(t, webCertificate(t), status(301)) },
			want: "pppfspfffff", way: "upgrade", err: "301 Moved Permanently to https://login.example.com/start:"},
		{name: "another's websocket", addr: func(t testing.TB) string { return website(t, webCertificate(t), echo) },
			want: "pppfspfffff", way: "upgrade", err: "no TLS with the proxy"},
		{name: "no web", addr: func(t testing.TB) string {
			return byHand(t, &tls.Config{Certificates: []tls.Certificate{webCertificate(t)}}, func(c net.Conn) { io.WriteString(c, "SSH-2.0-x\r\n"); io.Copy(io.Discard, c) })
		}, want: "pppfspfffff", way: "upgrade", err: "malformed"},
		{name: "h2 only", addr: func(t testing.TB) string {
			return byHand(t, &tls.Config{Certificates: []tls.Certificate{webCertificate(t)}, NextProtos: []string{"h2"}}, func(c net.Conn) {
				io.WriteString(c, "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64")
				c.Read(make([]byte, 1024))
			})
		}, want: "pppfspfffff", way: "upgrade", err: "malformed"},

		{name: "wrong name", addr: func(t testing.TB) string {
			return byPort(proxy(t, proxyserver.Options{}), "other.example.com")
		}, change: loopbackOnly, want: "ppfpppppppp", way: "raw", err: "valid for"},
		{name: "unknown authority", addr: func(t testing.TB) string { return proxy(t, proxyserver.Options{}) },
			change: func(o *Options) { o.Target.Roots = nil }, want: "ppfpppppppp", way: "raw", err: "unknown authority"},
		{name: "unknown authority, insecure", addr: func(t testing.TB) string { return proxy(t, proxyserver.Options{}) },
			change: func(o *Options) { o.Target.Roots, o.Target.Insecure = nil, true }, want: "ppppppppppp", way: "raw"},
		{name: "self-signed", addr: func(t testing.TB) string { return website(t, selfSigned, status(200)) },
			want: "ppffspfffff", way: "raw", err: "certificate"},
		{name: "self-signed, trusted by file, wrong name", addr: func(t testing.TB) string { return website(t, selfSigned, status(200)) },
			change: func(o *Options) { o.Target.Roots = poolOf(self.Certificate()) }, want: "ppffspfffff", way: "raw", err: "valid for"},

		{name: "plain http", addr: func(t testing.TB) string {
			return byHand(t, nil, func(c net.Conn) {
				c.Read(make([]byte, 1024))
				io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
			})
		}, want: "ppfssssssss", way: "raw", err: "speaks plain HTTP"},
		{name: "hangs up", addr: func(t testing.TB) string { return byHand(t, nil, func(net.Conn) {}) },
			want: "ppfssssssss", way: "raw", err: ""},
		{name: "closed port", addr: func(testing.TB) string { return "localhost:1" }, want: "pfsssssssss", way: "raw", err: "refused"},
		{name: "unknown name", addr: func(testing.TB) string { return "nosuch.invalid:443" },
			change: func(o *Options) {
				o.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
					return nil, &net.DNSError{Name: host, IsNotFound: true, Err: "no such host"}
				}
			}, want: "fssssssssss", way: "raw", err: "no such host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := look(t, tt.addr(t), tt.change)
			if got, want := outcome(r), strings.ReplaceAll(tt.want, " ", ""); got != want {
				t.Errorf("outcome %s, want %s", got, want)
				for _, c := range r.Checks {
					t.Logf("%+v", c)
				}
			}
			use := r.Use(tt.wish)
			fails := tt.err != "" || strings.HasSuffix(tt.want, "ssss")
			if use.Works == fails || fails != (use.Err != nil) || use.Way() != tt.way {
				t.Errorf("use %+v, want %s", use, tt.way)
			}
			if fails && use.Err != nil && !strings.Contains(use.Err.Error(), tt.err) {
				t.Errorf("error %v, want %s", use.Err, tt.err)
			}
			if got := r.Check(Raw).Proves; !strings.Contains(got, tt.proves) {
				t.Errorf("it proves %q, want %q", got, tt.proves)
			}
			if got := strings.Join(r.Evidence(), "; "); !strings.Contains(got, tt.said) {
				t.Errorf("evidence %q, want %q", got, tt.said)
			}
		})
	}
}

func byPort(addr, host string) string {
	_, port, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(host, port)
}

// loopbackOnly has any name lead to this machine.
func loopbackOnly(o *Options) {
	o.HostCAs = nil // they would not vouch for the name either
	o.Lookup = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	o.Target.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, byPort(addr, "127.0.0.1"))
	}
}

func poolOf(c *x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c)
	return p
}

// echo takes every WebSocket, as web applications do, and any other upgrade too.
func echo(w http.ResponseWriter, r *http.Request) {
	if !websocket.IsWebSocketUpgrade(r) {
		status(404)(w, r)
		return
	}
	up := websocket.Upgrader{Subprotocols: []string{"alpn", "alpn-ping"}, CheckOrigin: func(*http.Request) bool { return true }}
	c, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, m, err := c.ReadMessage()
		if err != nil || c.WriteMessage(kind, m) != nil {
			return
		}
	}
}

// An HTTP proxy looks names up itself.
func TestThroughProxy(t *testing.T) {
	r := look(t, proxy(t, proxyserver.Options{}), func(o *Options) { o.HTTPProxy = "http://proxy:3128" })
	if got := outcome(r); got != "spppppppppp" || !strings.Contains(r.Check(TCP).Result, "http://proxy:3128") {
		t.Errorf("%s, %s", got, r.Check(TCP).Result)
	}
}

// The end of the context ends a survey, and blames nobody.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := Run(ctx, Options{Target: upgrade.Target{Addr: "localhost:1"}})
	if got := outcome(r); got != "sssssssssss" || r.Use(Wish{}).Works {
		t.Errorf("%s, %+v", got, r.Use(Wish{}))
	}
}

// Servers that hang cost a bounded time, whatever they have done before.
func TestHangs(t *testing.T) {
	cert := webCertificate(t)
	for _, tt := range []struct {
		name  string
		serve func(c net.Conn) // before it hangs
		want  string
		most  time.Duration
	}{
		{"at once", func(net.Conn) {}, "spfssssssss", tlsTimeout},
		// The requests begin a second after each other.
		{"after TLS", func(c net.Conn) { tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake() },
			"sppfspfffff", 4*patience + upgrade.HandshakeTimeout},
		{"after 101", func(c net.Conn) {
			tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
			n, _ := tc.Read(make([]byte, 2048))
			if n > 0 {
				io.WriteString(tc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: alpn, alpn-ping\r\n\r\n")
			}
		}, "sppfspfffff", 4*patience + innerTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wg sync.WaitGroup
				began := time.Now()
				r := look(t, "127.0.0.1:443", func(o *Options) {
					o.Target.Insecure = true // in a bubble it is the year 2000
					o.Target.Dial = func(context.Context, string, string) (net.Conn, error) {
						client, server := net.Pipe()
						wg.Go(func() { defer server.Close(); tt.serve(server); io.Copy(io.Discard, server) })
						return pipe{client}, nil
					}
				})
				took := time.Since(began)
				wg.Wait()
				if got := outcome(r); got != tt.want || took > tt.most {
					t.Errorf("%s after %v, want %s within %v", got, took, tt.want, tt.most)
				}
			})
		})
	}
}

// pipe has the address of a network connection.
type pipe struct{ net.Conn }

func (pipe) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

// The first ping is found on both methods, and its absence too.
func TestPings(t *testing.T) {
	waits := func(o *Options) { o.WaitPing = true }
	r := look(t, proxy(t, proxyserver.Options{PingInterval: 50 * time.Millisecond}), waits)
	if got := outcome(r); got != strings.Repeat("p", 13) {
		t.Errorf("outcome %s", got)
		for _, c := range r.Checks {
			t.Logf("%+v", c)
		}
	}
	r = look(t, behind(t, balancer.Options{Idle: time.Second}, proxyserver.Options{}), waits) // more than an upgrade takes
	for _, name := range []string{WebSocketPinged, LegacyPinged} {
		if c := r.Check(name); !errors.Is(c.Err, ErrNoPing) {
			t.Errorf("%+v", c)
		}
	}
	r = look(t, proxy(t, proxyserver.Options{Behavior: proxyserver.V14(), PingInterval: 50 * time.Millisecond}), waits)
	if got := outcome(r); got != "pppppppffppsp" {
		t.Errorf("outcome %s", got)
	}
}
