package kubeproxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"tshx/internal/tlsroute"
)

// How long connections to the proxy are kept for the next request. One that was
// cut without a word is found out by the request that uses it. net/http repeats
// that on another one if it only reads; others would fail, so theirs are younger
// than any balancer's patience.
const (
	idleRead  = 90 * time.Second
	idleWrite = tlsroute.WarmMaxAge
	// idleMost is how many are kept of either kind, for each cluster.
	idleMost = 16
)

// replayMost is the longest body that is read before it is sent, so that it can
// be sent again where a connection turns out to be closed before the first byte.
const replayMost = 64 << 10

// backend forwards the requests of one cluster.
type backend struct {
	Cluster
	proxy   *Proxy
	addr    string // canonical
	host    string // in requests
	reverse *httputil.ReverseProxy

	serverName string // of the local listener

	mu      sync.Mutex
	current *pool // nil before the first request and after a failed certificate
}

func newBackend(p *Proxy, c Cluster, addr string) *backend {
	b := &backend{Cluster: c, proxy: p, addr: addr, host: c.Route.ServerName}
	if b.host == "" {
		b.host, _, _ = net.SplitHostPort(addr)
	}
	b.reverse = newReverse(b)
	return b
}

// pool holds the connections that were made with one certificate.
type pool struct {
	cert          [sha256.Size]byte // fingerprint
	route         tlsroute.Route    // with that certificate
	reads, writes *http.Transport
	retired       atomic.Bool
}

func (b *backend) newPool(cert *tls.Certificate) *pool {
	n := &pool{cert: fingerprint(cert), route: b.Route}
	if cert != nil {
		n.route.Certificate = func() (*tls.Certificate, error) { return cert, nil }
	}
	transport := func(idle time.Duration) *http.Transport {
		t := &http.Transport{
			DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return b.proxy.dial(ctx, n.route)
			},
			Protocols:          new(http.Protocols),
			DisableCompression: true, // bodies pass as they are
			IdleConnTimeout:    idle, MaxIdleConnsPerHost: idleMost,
			ExpectContinueTimeout: time.Second,
		}
		t.Protocols.SetHTTP1(true)
		return t
	}
	n.reads, n.writes = transport(idleRead), transport(idleWrite)
	return n
}

func fingerprint(cert *tls.Certificate) (sum [sha256.Size]byte) {
	if cert == nil {
		return sum
	}
	return sha256.Sum256(bytes.Join(cert.Certificate, nil))
}

// take returns the pool of the certificate that is valid now. The one before it
// is retired.
func (b *backend) take() (*pool, error) {
	var cert *tls.Certificate
	if b.Route.Certificate != nil {
		var err error
		if cert, err = b.Route.Certificate(); err != nil {
			b.replace(nil)
			return nil, &certError{err}
		}
	}
	sum := fingerprint(cert)
	b.mu.Lock()
	n := b.current
	b.mu.Unlock()
	if n == nil || n.cert != sum {
		n = b.replace(b.newPool(cert))
	}
	return n, nil
}

// replace puts by in the place of the pool there is, unless that was made with
// the same certificate. It returns the one that is there now. The other's
// connections are closed, those that carry a request after it.
func (b *backend) replace(by *pool) *pool {
	b.mu.Lock()
	old := b.current
	if old != nil && by != nil && old.cert == by.cert {
		b.mu.Unlock()
		return old
	}
	b.current = by
	b.mu.Unlock()
	if old != nil {
		b.proxy.background(old.retire) // saying goodbye may take a moment
	}
	return by
}

func (n *pool) retire() {
	n.retired.Store(true)
	n.reads.CloseIdleConnections()
	n.writes.CloseIdleConnections()
}

// send is t.RoundTrip. A Transport that gets a request keeps connections again,
// also one that should not any more.
func (n *pool) send(t *http.Transport, req *http.Request) (*http.Response, error) {
	res, err := t.RoundTrip(req)
	if n.retired.Load() {
		t.CloseIdleConnections()
	}
	return res, err
}

// RoundTrip implements http.RoundTripper, for requests that it may change.
func (b *backend) RoundTrip(req *http.Request) (*http.Response, error) {
	n, err := b.take()
	if err != nil {
		return nil, err
	}
	if req.Header.Get("Upgrade") != "" {
		return b.upgrade(req, n.route)
	}
	if req.Body == nil && (req.Method == http.MethodGet || req.Method == http.MethodHead) {
		return n.send(n.reads, req)
	}
	if err := replayable(req); err != nil {
		return nil, err
	}
	return n.send(n.writes, req)
}

// replayable has a short body read, unless the client waits to be asked for it.
func replayable(req *http.Request) error {
	if req.Body == nil || req.ContentLength <= 0 || req.ContentLength > replayMost || req.Header.Get("Expect") != "" {
		return nil
	}
	body := make([]byte, req.ContentLength)
	if _, err := io.ReadFull(req.Body, body); err != nil {
		return err
	}
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	return nil
}
