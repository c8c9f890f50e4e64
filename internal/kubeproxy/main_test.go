package kubeproxy_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tshx/internal/accept"
	"tshx/internal/identity"
	"tshx/internal/kubeproxy"
	"tshx/internal/localproxy"
	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const teleportCluster = "real.example.com"

var authority = sync.OnceValue(func() *proxyserver.Authority {
	a, err := proxyserver.NewAuthority(teleportCluster, proxyserver.ECDSA)
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
		Identity: identity.Identity{User: "alice", Roles: []string{"access"}, KubeCluster: "k", KubeGroups: []string{"g"}, Usage: []string{identity.UsageKube}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// world is an access proxy in front of one API server, and the local proxy.
type world struct {
	t       testing.TB
	options kubeproxy.Options
	handler http.HandlerFunc // the API server
	// accepted counts the connections to the proxy that had a TLS handshake.
	accepted atomic.Int64
	mu       sync.Mutex
	open     int        // of these, guarded by mu
	changed  *sync.Cond // open has
	cert     atomic.Pointer[tls.Certificate]
	certErr  atomic.Pointer[error]
	dialErr  atomic.Pointer[error]

	Proxy *kubeproxy.Proxy
	Addr  string // of the local proxy
	// Stop begins a drain and Ended is closed after it.
	Stop  context.CancelFunc
	Ended chan struct{}
	cut   atomic.Int64 // connections that outlived the drain
}

// newWorld starts both halves. change, if not nil, may change the options.
func newWorld(t testing.TB, handler http.HandlerFunc, change func(w *world)) *world {
	t.Helper()
	w := &world{t: t, handler: handler, Ended: make(chan struct{})}
	w.changed = sync.NewCond(&w.mu)
	w.cert.Store(userCert(t))
	addr := w.upstream()
	w.options.Clusters = []kubeproxy.Cluster{w.cluster(addr, "kube")}
	w.options.Dialer = &tlsroute.Dialer{
		Finder: &tlsroute.Finder{
			Target:  upgrade.Target{Addr: addr, Roots: authority().Web.Pool()},
			Profile: &tlsroute.Way{At: time.Now()},
		},
		HostCAs: func() (*x509.CertPool, error) { return authority().Host.Pool(), nil },
	}
	w.options.Dialer = dialFunc{w.options.Dialer, func(context.Context, tlsroute.Route) error {
		if err := w.dialErr.Load(); err != nil {
			return *err
		}
		return nil
	}}
	if change != nil {
		change(w)
	}
	p, err := kubeproxy.New(w.options)
	if err != nil {
		t.Fatal(err)
	}
	w.Proxy = p
	t.Cleanup(func() { p.Close() })
	ln := listen(t)
	w.Addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	w.Stop = cancel
	server := &localproxy.Server{Handler: p, Draining: func(int) { p.Drain() }, Cut: func(open int) { w.cut.Add(int64(open)) }}
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

func (w *world) cluster(addr, name string) kubeproxy.Cluster {
	return kubeproxy.Cluster{
		Teleport: teleportCluster, Name: name, Addr: "proxy.example.com",
		Route: kubeproxy.Route(name, "proxy.example.com:443", func() (*tls.Certificate, error) {
			if err := w.certErr.Load(); err != nil && *err != nil {
				return nil, *err
			}
			return w.cert.Load(), nil
		}),
	}
}

// fail has the certificate be an error, or be there again.
func (w *world) fail(err error) { w.certErr.Store(&err) }

// failDial has dials fail, or work again.
func (w *world) failDial(err error) { w.dialErr.Store(&err) }

// dialFunc looks at dials before they are done.
type dialFunc struct {
	tlsroute.RouteDialer
	before func(context.Context, tlsroute.Route) error
}

func (d dialFunc) Dial(ctx context.Context, r tlsroute.Route) (net.Conn, error) {
	if err := d.before(ctx, r); err != nil {
		return nil, err
	}
	return d.RouteDialer.Dial(ctx, r)
}

// upstream starts the access proxy.
func (w *world) upstream() string {
	t := w.t
	host, err := authority().HostCertificate("proxy.example.com", tlsroute.KubeServerName("proxy.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	queue := accept.NewQueue(&net.TCPAddr{})
	api := &http.Server{Handler: w.handler, Protocols: new(http.Protocols)}
	api.Protocols.SetHTTP1(true)
	served := make(chan struct{})
	go func() { defer close(served); api.Serve(queue) }()
	mux := &tlsroute.Mux{Kube: &tlsroute.Handler{
		TLS: &tls.Config{
			Certificates: []tls.Certificate{host}, NextProtos: []string{tlsroute.ALPNHTTP1},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority().User.Pool(),
		},
		Serve: func(ctx context.Context, c net.Conn, _ tlsroute.Info) {
			w.accepted.Add(1)
			w.count(1)
			context.AfterFunc(ctx, func() { w.count(-1) })
			queue.Put(ctx, c)
		},
	}}
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
		api.Close()
		<-served
	})
	return ln.Addr().String()
}

func (w *world) count(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open += n
	w.changed.Broadcast()
}

// clientTLS is what the kubeconfig tells a client.
func (w *world) clientTLS() *tls.Config {
	a := w.Proxy.Access()
	pair, err := tls.X509KeyPair(a.Cert, a.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.CA) {
		w.t.Fatal("no CA")
	}
	return &tls.Config{ServerName: w.Proxy.ServerName(0), RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

// client is an HTTP client as kubectl has one.
func (w *world) client(http2 bool) *http.Client {
	t := &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: w.Addr}),
		TLSClientConfig: w.clientTLS(), Protocols: new(http.Protocols), ExpectContinueTimeout: time.Hour,
		MaxIdleConnsPerHost: 50,
	}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(http2)
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// get returns the code and the body.
func (w *world) get(c *http.Client, path string) (int, string) {
	w.t.Helper()
	res, err := c.Get(w.Proxy.URL(0) + path)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, readAll(w.t, res.Body)
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

// status is the Status of the Kubernetes API.
type status struct {
	Kind, APIVersion, Status, Message, Reason string
	Metadata                                  *struct{}
	Code                                      int
}

func parseStatus(t testing.TB, body string) status {
	t.Helper()
	var s status
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	if s.Kind != "Status" || s.APIVersion != "v1" || s.Status != "Failure" || s.Metadata == nil {
		t.Errorf("status %s", body)
	}
	return s
}

// connect opens a tunnel to the local TLS listener.
func (w *world) connect() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.Addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	io.WriteString(c, "CONNECT proxy.example.com:443 HTTP/1.1\r\nHost: proxy.example.com:443\r\n\r\n")
	const granted = "HTTP/1.1 200 Connection established\r\n\r\n"
	buf := make([]byte, len(granted))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != granted {
		w.t.Fatalf("%q, %v", buf, err)
	}
	return c
}
