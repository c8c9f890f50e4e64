package httproute_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tshx/internal/accept"
	"tshx/internal/httproute"
	"tshx/internal/identity"
	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
		Identity: identity.Identity{User: "alice", Roles: []string{"access"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// world is an access proxy with one HTTP server behind it, and a server whose
// handler is the Upstream to there.
type world struct {
	t        testing.TB
	options  httproute.Options
	accepted atomic.Int64 // connections to the proxy
	failed   chan error

	up  *httproute.Upstream
	url string // of the server
}

// newWorld starts both halves. change, if not nil, may change the options.
func newWorld(t testing.TB, handler http.HandlerFunc, change func(w *world)) *world {
	t.Helper()
	w := &world{t: t, failed: make(chan error, 100)}
	cert := userCert(t)
	w.options.Route = tlsroute.Route{Name: "test", ALPN: []string{tlsroute.ALPNHTTP1}, Certificate: func() (*tls.Certificate, error) { return cert, nil }}
	w.options.Dialer = &tlsroute.Dialer{Finder: &tlsroute.Finder{
		Target:  upgrade.Target{Addr: w.proxy(handler), Roots: authority().Web.Pool()},
		Profile: &tlsroute.Way{At: time.Now()},
	}}
	if change != nil {
		change(w)
	}
	w.up = httproute.New(w.options)
	s := httptest.NewUnstartedServer(w.up.Reverse(httproute.ReverseOptions{Failed: func(rw http.ResponseWriter, _ *http.Request, err error) {
		w.failed <- err
		http.Error(rw, err.Error(), httproute.StatusOf(err))
	}}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() { w.up.Close(); s.Close() })
	w.url = s.URL
	return w
}

// proxy starts the access proxy and returns its address.
func (w *world) proxy(handler http.HandlerFunc) string {
	cert, err := authority().WebCertificate("127.0.0.1")
	if err != nil {
		w.t.Fatal(err)
	}
	queue := accept.NewQueue(&net.TCPAddr{})
	server := &http.Server{Handler: handler}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(queue) }()
	mux := &tlsroute.Mux{
		TLS: &tls.Config{
			Certificates: []tls.Certificate{cert}, NextProtos: tlsroute.ServerProtocols(),
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority().User.Pool(),
		},
		Routes: map[string]tlsroute.Handler{tlsroute.ALPNHTTP1: {Serve: func(ctx context.Context, c net.Conn, _ tlsroute.Info) {
			w.accepted.Add(1)
			queue.Put(ctx, c)
		}}},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
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
	w.t.Cleanup(func() {
		cancel()
		<-looped
		open.Close()
		open.Wait()
		server.Close()
		<-served
	})
	return ln.Addr().String()
}

// client is one of the server in front.
func (w *world) client(http2 bool) *http.Client {
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols), MaxIdleConnsPerHost: 50}
	t.Protocols.SetHTTP1(true)
	t.Protocols.SetHTTP2(http2)
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// get returns the code and the body.
func (w *world) get(c *http.Client, path string) (int, string) {
	w.t.Helper()
	res, err := c.Get(w.url + path)
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

func hello(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "hello") }
