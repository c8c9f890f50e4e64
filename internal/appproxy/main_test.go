package appproxy_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tshx/internal/accept"
	"tshx/internal/appproxy"
	"tshx/internal/identity"
	"tshx/internal/localproxy"
	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// Half a second after a body that broke the application's server still holds on.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

var authority = sync.OnceValue(func() *proxyserver.Authority {
	a, err := proxyserver.NewAuthority("real.example.com", proxyserver.ECDSA)
	if err != nil {
		panic(err)
	}
	return a
})

// userCert is a login's certificate, another one at each call.
func userCert(t testing.TB) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := authority().IssueTLS(proxyserver.UserRequest{
		Public: crypto.PublicKey(&key.PublicKey), NotAfter: time.Now().Add(time.Hour),
		Identity: identity.Identity{
			User: "alice", Roles: []string{"access"}, Usage: []string{identity.UsageApps},
			App: identity.App{Name: "web", SessionID: "1", PublicAddr: "web.proxy.example.com", Cluster: "real.example.com"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// world is an access proxy in front of an application, and the local proxy.
type world struct {
	t       testing.TB
	options appproxy.Options
	handler http.HandlerFunc // the HTTP application; nil is none
	raw     func(net.Conn)   // the same by its connections, in place of handler
	tcp     func(net.Conn)   // the TCP application; nil closes at once, as proxies do
	brisk   bool             // clients may be silent no longer than with people, also without tcp
	web     atomic.Int64     // connections on the HTTP route
	tunnels atomic.Int64     // and on the TCP route

	cert    atomic.Pointer[tls.Certificate]
	certErr atomic.Pointer[error]
	dialErr atomic.Pointer[error]
	reports chan error
	closed  chan localproxy.End

	Proxy *appproxy.Proxy
	Addr  string // of the local proxy
	Stop  context.CancelFunc
	Ended chan struct{}
	cut   atomic.Int64 // connections that outlived the drain
}

// newWorld starts both halves. change, if not nil, may change what they are.
func newWorld(t testing.TB, handler http.HandlerFunc, change func(w *world)) *world {
	t.Helper()
	w := &world{t: t, handler: handler, Ended: make(chan struct{}), reports: make(chan error, 100), closed: make(chan localproxy.End, 100)}
	w.cert.Store(userCert(t))
	w.options = appproxy.Options{
		Name: "web", PublicAddr: "web.proxy.example.com", ProxyAddr: "proxy.example.com:443",
		Certificate: func() (*tls.Certificate, error) {
			if err := w.certErr.Load(); err != nil && *err != nil {
				return nil, *err
			}
			return w.cert.Load(), nil
		},
		Report: func(err error) { w.reports <- err },
		Closed: func(_ localproxy.Connection, e localproxy.End) { w.closed <- e },
	}
	if change != nil {
		change(w)
	}
	addr := w.upstream()
	w.options.Dialer = dialFunc{&tlsroute.Dialer{
		Finder: &tlsroute.Finder{
			Target:  upgrade.Target{Addr: addr, Roots: authority().Web.Pool()},
			Profile: &tlsroute.Way{At: time.Now()},
		},
	}, w}
	p := appproxy.New(w.options)
	w.Proxy = p
	if w.tcp == nil && !w.brisk {
		p.SetPatience(time.Minute) // nobody is to be taken for a client of TCP because the machine is busy
	}
	ln := listen(t)
	w.Addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	w.Stop = cancel
	server := &localproxy.Server{Handler: p, Draining: func(int) { p.Drain() }, Cut: func(open int) { w.cut.Add(int64(open)) }, Drain: 5 * time.Second}
	go func() { defer close(w.Ended); server.Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); p.Close(); <-w.Ended })
	return w
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// fail has the certificate be an error, or be there again.
func (w *world) fail(err error) { w.certErr.Store(&err) }

// failDial has dials fail, or work again.
func (w *world) failDial(err error) { w.dialErr.Store(&err) }

type dialFunc struct {
	tlsroute.RouteDialer
	w *world
}

func (d dialFunc) Dial(ctx context.Context, r tlsroute.Route) (net.Conn, error) {
	if err := d.w.dialErr.Load(); err != nil && *err != nil {
		return nil, *err
	}
	return d.RouteDialer.Dial(ctx, r)
}

// upstream starts the access proxy.
func (w *world) upstream() string {
	t := w.t
	cert, err := authority().WebCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	queue := accept.NewQueue(&net.TCPAddr{})
	app := &http.Server{Handler: w.handler, DisableGeneralOptionsHandler: true}
	served := make(chan struct{})
	go func() { defer close(served); app.Serve(queue) }()
	mux := &tlsroute.Mux{
		TLS: &tls.Config{
			Certificates: []tls.Certificate{cert}, NextProtos: tlsroute.ServerProtocols(),
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority().User.Pool(),
		},
		Routes: map[string]tlsroute.Handler{
			tlsroute.ALPNHTTP1: {Serve: func(ctx context.Context, c net.Conn, _ tlsroute.Info) {
				w.web.Add(1)
				if w.raw != nil {
					defer c.Close()
					w.raw(c)
					return
				}
				queue.Put(ctx, c)
			}},
			tlsroute.ALPNTCP: {Serve: func(_ context.Context, c net.Conn, _ tlsroute.Info) {
				defer c.Close()
				w.tunnels.Add(1)
				if w.tcp != nil {
					w.tcp(c)
				}
			}},
		},
	}
	ln := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	looped := make(chan struct{})
	var open accept.Set
	go func() {
		defer close(looped)
		accept.Loop(ctx, ln, func(c net.Conn) {
			open.Go(c, func(c net.Conn) {
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				mux.ServeConn(ctx, c, nil)
			})
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-looped
		open.Close()
		open.Wait()
		app.Close()
		<-served
	})
	return ln.Addr().String()
}

func (w *world) url(path string) string { return "http://" + w.Addr + path }

// client keeps its connections.
func (w *world) client() *http.Client {
	t := &http.Transport{DisableCompression: true, ExpectContinueTimeout: time.Hour}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// dial connects and says first.
func (w *world) dial(first string) (net.Conn, *bufio.Reader) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.Addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, first); err != nil {
		w.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// ask sends text and returns all that comes back until the end.
func (w *world) ask(text string) (string, error) {
	w.t.Helper()
	c, br := w.dial(text)
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	b, err := io.ReadAll(br)
	return string(b), err
}

func readAll(t testing.TB, r io.ReadCloser) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	return string(b)
}

func hello(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "hello") }

func httpRoute(w *world) tlsroute.Route { return appproxy.Route("web", w.options.Certificate) }
