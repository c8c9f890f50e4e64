package cloudproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdkcreds "github.com/aws/aws-sdk-go-v2/credentials"

	"tshx/internal/localproxy"
	"tshx/internal/tlsroute"
)

// world is a proxy for two apps, the far side of them, and something that is not
// the cloud's.
type world struct {
	t        testing.TB
	handler  http.HandlerFunc // the far side
	dialErr  atomic.Pointer[error]
	certErr  atomic.Pointer[error]
	directTo string // what everything else leads to
	o        Options
	aws      AWSOptions

	*Proxy
	addr string
	stop context.CancelFunc
	done chan struct{}
}

type dialFunc func(ctx context.Context, r tlsroute.Route) (net.Conn, error)

func (f dialFunc) Dial(ctx context.Context, r tlsroute.Route) (net.Conn, error) { return f(ctx, r) }

func newWorld(t testing.TB, handler http.HandlerFunc, change func(w *world)) *world {
	t.Helper()
	w := &world{t: t, handler: handler, done: make(chan struct{})}
	w.aws.Keys = []Keys{testKeys, {ID: "TSHXOTHER", Secret: "other"}}
	far := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.handler(rw, r) }))
	t.Cleanup(far.Close)
	dialer := net.Dialer{}
	w.o.Dialer = dialFunc(func(ctx context.Context, r tlsroute.Route) (net.Conn, error) {
		if err := w.dialErr.Load(); err != nil {
			return nil, *err
		}
		return dialer.DialContext(ctx, "tcp", far.Listener.Addr().String())
	})
	w.o.Direct = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, w.directTo)
	}
	for _, name := range []string{"one", "two"} {
		w.o.Apps = append(w.o.Apps, App{Name: name, Route: tlsroute.Route{Name: name, Certificate: func() (*tls.Certificate, error) {
			if err := w.certErr.Load(); err != nil {
				return nil, *err
			}
			return &tls.Certificate{Certificate: [][]byte{[]byte(name)}}, nil
		}}})
	}
	if change != nil {
		change(w)
	}
	w.aws.Endpoint = w.o.Endpoint
	w.o.Cloud = NewAWS(w.aws)
	p, err := New(w.o)
	if err != nil {
		t.Fatal(err)
	}
	w.Proxy = p
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	server := &localproxy.Server{Handler: p, Draining: func(int) { p.Drain() }}
	go func() { defer close(w.done); server.Serve(ctx, ln) }()
	t.Cleanup(func() { cancel(); p.Close(); <-w.done })
	return w
}

func (w *world) roots() *x509.CertPool {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(w.CA()) {
		w.t.Fatal("no CA")
	}
	return roots
}

// client is one as programs have it that know a forward proxy, or the endpoint.
func (w *world) client() *http.Client {
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.roots()}, ExpectContinueTimeout: time.Minute, DisableCompression: true}
	if !w.o.Endpoint {
		t.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: w.addr})
	}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// sdk configures a client of the AWS SDK.
func (w *world) sdk(keys Keys) aws.Config {
	c := aws.Config{
		Region: "eu-west-1", HTTPClient: w.client(), RetryMaxAttempts: 1,
		Credentials: sdkcreds.NewStaticCredentialsProvider(keys.ID, keys.Secret, ""),
	}
	if w.o.Endpoint {
		c.BaseEndpoint = aws.String("https://" + w.addr)
	}
	return c
}

// do sends a request, signed by the clock that the proxy has.
func (w *world) do(r *http.Request) (int, string) {
	w.t.Helper()
	res, err := w.client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}
