package tlsroute_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tshx/internal/accept"
	"tshx/internal/conn"
	"tshx/internal/identity"
	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

var authority = sync.OnceValue(func() *proxyserver.Authority {
	a, err := proxyserver.NewAuthority("dial.example.com", proxyserver.ECDSA)
	if err != nil {
		panic(err)
	}
	return a
})

// world is a port behind which a proxy, or a balancer in front of it, can be
// put.
type world struct {
	t      testing.TB
	direct string // the proxy's own address
	front  atomic.Pointer[func(net.Conn)]
	Addr   string // what clients dial
}

func newWorld(t testing.TB, b proxyserver.Behavior) *world {
	t.Helper()
	echo := serve(t, func(c net.Conn) { io.Copy(c, c); c.Close() })
	p, err := proxyserver.New(proxyserver.Options{
		Authority: authority(), Behavior: b, PingInterval: 20 * time.Millisecond,
		Apps: []proxyserver.App{{Name: "echo", URI: "tcp://" + echo}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	w := &world{t: t, direct: serve(t, p.ServeConn)}
	w.replace(forward(w.direct))
	w.Addr = serve(t, func(c net.Conn) { (*w.front.Load())(c) })
	return w
}

// replace puts something else behind the port, for new connections.
func (w *world) replace(handler func(net.Conn)) { w.front.Store(&handler) }

func mustListen(t testing.TB, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// serve runs handler for each connection of a listener for as long as the test.
func serve(t testing.TB, handler func(net.Conn)) string {
	ln := mustListen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	var set accept.Set
	done := make(chan struct{})
	go func() {
		defer close(done)
		accept.Loop(ctx, ln, func(c net.Conn) { set.Go(c, handler) })
	}()
	t.Cleanup(func() { cancel(); <-done; set.Close(); set.Wait() })
	return ln.Addr().String()
}

// forward is a layer-4 balancer that does not touch TLS.
func forward(addr string) func(net.Conn) {
	return func(c net.Conn) {
		up, err := net.Dial("tcp", addr)
		if err != nil {
			c.Close()
			return
		}
		conn.Splice(context.Background(), c, up)
	}
}

// balancer is a layer-4 balancer that ends TLS: ALPN is lost on the way.
func (w *world) balancer() func(net.Conn) {
	cert, err := authority().WebCertificate()
	if err != nil {
		w.t.Fatal(err)
	}
	front := &tls.Config{Certificates: []tls.Certificate{cert}}
	return func(c net.Conn) {
		up, err := tls.Dial("tcp", w.direct, &tls.Config{RootCAs: authority().Web.Pool()})
		if err != nil {
			c.Close()
			return
		}
		conn.Splice(context.Background(), tls.Server(c, front), up)
	}
}

func (w *world) dialer() *tlsroute.Dialer {
	return &tlsroute.Dialer{
		Finder: &tlsroute.Finder{Target: upgrade.Target{Addr: w.Addr, Roots: authority().Web.Pool()}},
		HostCAs: func() (*x509.CertPool, error) {
			return authority().Host.Pool(), nil
		},
	}
}

func appCert(t testing.TB) func() (*tls.Certificate, error) {
	t.Helper()
	return appCertUntil(t, time.Now().Add(time.Hour))
}

func appCertUntil(t testing.TB, end time.Time) func() (*tls.Certificate, error) {
	t.Helper()
	key, err := proxyserver.NewKey(proxyserver.ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	der, err := authority().IssueTLS(proxyserver.UserRequest{
		Public: key.Public(), NotAfter: end,
		Identity: identity.Identity{
			User: "alice", Roles: []string{"access"},
			App: identity.App{Name: "echo", SessionID: "1", PublicAddr: "echo.localhost", Cluster: authority().Cluster},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
	}
}

func echoRoute(t testing.TB) tlsroute.Route {
	return tlsroute.Route{Name: "echo", ALPN: []string{"teleport-tcp-ping", "teleport-tcp"}, Certificate: appCert(t)}
}

// checkEcho proves the stream: bytes, half-close and the reply after it.
func checkEcho(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(c); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Fatalf("read %q, %v", b, err)
	}
}

func TestDial(t *testing.T) {
	for name, tt := range map[string]struct {
		behavior proxyserver.Behavior
		balanced bool
		way      string
		evidence string
	}{
		"raw v17":        {proxyserver.V17(), false, "raw", upgrade.EvidenceNegotiated},
		"raw v14":        {proxyserver.V14(), false, "raw", upgrade.EvidenceNegotiated},
		"TLS ended, v17": {proxyserver.V17(), true, "upgrade websocket", upgrade.EvidenceNoALPN},
		"TLS ended, v14": {proxyserver.V14(), true, "upgrade legacy", upgrade.EvidenceNoALPN},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.behavior)
			if tt.balanced {
				w.replace(w.balancer())
			}
			d := w.dialer()
			for range 2 { // found, then remembered
				c, err := d.Dial(t.Context(), echoRoute(t))
				if err != nil {
					t.Fatal(err)
				}
				checkEcho(t, c)
			}
			c, err := d.Dial(t.Context(), tlsroute.Route{Name: "ssh", ALPN: []string{tlsroute.ALPNSSH}, HostCert: true})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			greeting := make([]byte, 8)
			if _, err := io.ReadFull(c, greeting); err != nil || string(greeting) != "SSH-2.0-" {
				t.Errorf("greeting %q, %v", greeting, err)
			}
			if way, ok := d.Finder.Known(); !ok || way.String() != tt.way || way.Evidence != tt.evidence {
				t.Errorf("way = %v, evidence %s", way, way.Evidence)
			}
		})
	}
}

// A balancer put in front of a running proxy, or taken away, costs no dial.
func TestDialFollowsTheBalancer(t *testing.T) {
	for name, b := range map[string]proxyserver.Behavior{"v17": proxyserver.V17(), "v14": proxyserver.V14()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, b)
			d := w.dialer()
			for i, front := range []func(net.Conn){forward(w.direct), w.balancer(), forward(w.direct), w.balancer()} {
				w.replace(front)
				c, err := d.Dial(t.Context(), echoRoute(t))
				if err != nil {
					t.Fatalf("after change %d: %v", i, err)
				}
				checkEcho(t, c)
			}
		})
	}
}

// Many dials that fail together share one new test.
func TestDialTestsOnceForMany(t *testing.T) {
	w := newWorld(t, proxyserver.V17())
	d := w.dialer()
	var mu sync.Mutex
	tests := 0
	balancer := w.balancer()
	w.replace(func(c net.Conn) {
		hello, replay, err := tlsroute.ReadHello(c)
		if err == nil && len(hello.ALPN) == 1 && hello.ALPN[0] == tlsroute.ALPNReverseTunnel {
			mu.Lock()
			tests++
			mu.Unlock()
		}
		balancer(replay)
	})
	d.Finder.Profile = &tlsroute.Way{Upgrade: false, At: time.Now()}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := d.Dial(context.Background(), echoRoute(t))
			if err != nil {
				t.Error(err)
				return
			}
			checkEcho(t, c)
		})
	}
	wg.Wait()
	if tests == 0 || tests >= 8 {
		t.Errorf("%d test connections for 8 dials", tests)
	}
}

func TestDialErrors(t *testing.T) {
	w := newWorld(t, proxyserver.V17())
	ssh := tlsroute.Route{Name: "ssh", ALPN: []string{tlsroute.ALPNSSH}, HostCert: true}

	t.Run("wrong host CA", func(t *testing.T) {
		d := w.dialer()
		d.HostCAs = func() (*x509.CertPool, error) { return authority().Web.Pool(), nil }
		_, err := d.Dial(t.Context(), ssh)
		var trust *tlsroute.TrustError
		if !errors.As(err, &trust) || !trust.HostCert {
			t.Errorf("Dial = %v", err)
		}
	})
	t.Run("wrong public CA", func(t *testing.T) {
		d := w.dialer()
		d.Finder.Target.Roots = authority().Host.Pool()
		_, err := d.Dial(t.Context(), echoRoute(t))
		var trust *tlsroute.TrustError
		if !errors.As(err, &trust) || trust.HostCert {
			t.Errorf("Dial = %v", err)
		}
		d.Finder.Target.Insecure = true
		c, err := d.Dial(t.Context(), echoRoute(t))
		if err != nil {
			t.Fatalf("insecure: %v", err)
		}
		checkEcho(t, c)
	})
	t.Run("insecure still checks the host certificate", func(t *testing.T) {
		d := w.dialer()
		d.Finder.Target.Insecure = true
		d.HostCAs = func() (*x509.CertPool, error) { return authority().Web.Pool(), nil }
		if c, err := d.Dial(t.Context(), ssh); err == nil {
			c.Close()
			t.Error("a foreign host certificate was taken")
		}
	})
	t.Run("proxy down", func(t *testing.T) {
		d := w.dialer()
		d.Finder.Target.Addr = "127.0.0.1:1" // nobody's
		_, err := d.Dial(t.Context(), echoRoute(t))
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" {
			t.Errorf("Dial = %v", err)
		}
		if _, ok := d.Finder.Known(); ok {
			t.Error("a test that learned nothing is remembered")
		}
	})
	t.Run("hung proxy", func(t *testing.T) {
		d := w.dialer()
		d.Finder.Target.Addr = serve(t, func(c net.Conn) { io.Copy(io.Discard, c); c.Close() })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := d.Dial(ctx, echoRoute(t)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Dial = %v", err)
		}
	})
	t.Run("no certificate", func(t *testing.T) {
		missing := errors.New("no certificate")
		r := echoRoute(t)
		r.Certificate = func() (*tls.Certificate, error) { return nil, missing }
		if _, err := w.dialer().Dial(t.Context(), r); !errors.Is(err, missing) {
			t.Errorf("Dial = %v", err)
		}
	})
	t.Run("route lost", func(t *testing.T) {
		w := newWorld(t, proxyserver.V17())
		w.replace(w.balancer())
		d := w.dialer()
		d.Finder.Getenv = func(name string) string { // decides alone, wrongly
			return map[string]string{upgrade.EnvRequired: "no"}[name]
		}
		_, err := d.Dial(t.Context(), echoRoute(t))
		var lost *tlsroute.RouteLostError
		if !errors.As(err, &lost) || lost.Got != "" {
			t.Errorf("Dial = %v", err)
		}
		var forced *tlsroute.ForcedError
		if !errors.As(err, &forced) || !strings.Contains(forced.Hint(), upgrade.EnvRequired) {
			t.Errorf("no word about the environment: %v", err)
		}
	})
}

// The death of a proxy, or a balancer that cuts, is not the end of a stream.
func TestCutIsNotAnEnd(t *testing.T) {
	for name, front := range map[string]func(*world) func(net.Conn){
		"raw":      func(w *world) func(net.Conn) { return forward(w.direct) },
		"upgraded": (*world).balancer,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, proxyserver.V17())
			cut := make(chan struct{})
			w.replace(func(c net.Conn) {
				defer c.Close()
				inner, outer := net.Pipe()
				defer outer.Close()
				go front(w)(inner)
				go io.Copy(outer, c)
				go io.Copy(c, outer)
				<-cut // then a plain FIN
			})
			c, err := w.dialer().Dial(t.Context(), echoRoute(t))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, "hi")
			if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
			close(cut)
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("read: %v, want %v", err, io.ErrUnexpectedEOF)
			}
		})
	}
}
