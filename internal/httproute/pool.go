package httproute

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"tshx/internal/tlsroute"
)

// How long connections to the proxy are kept for the next request. One that was
// cut without a word is found out by the request that uses it. net/http repeats
// that on another one if it only reads; others fail, so theirs are younger than
// any balancer's patience.
const (
	idleRead  = 90 * time.Second
	idleWrite = tlsroute.WarmMaxAge
	// idleMost is how many are kept of either kind.
	idleMost = 16
)

// pool holds the connections that were made with one certificate.
type pool struct {
	cert          [sha256.Size]byte // fingerprint
	route         tlsroute.Route    // with that certificate
	reads, writes *http.Transport
	retired       atomic.Bool
}

func (u *Upstream) newPool(cert *tls.Certificate) *pool {
	n := &pool{cert: fingerprint(cert), route: u.o.Route}
	if cert != nil {
		n.route.Certificate = func() (*tls.Certificate, error) { return cert, nil }
	}
	transport := func(idle time.Duration) *http.Transport {
		t := &http.Transport{
			DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				c, err := u.dial(ctx, n.route)
				if err != nil {
					return nil, err
				}
				return &kept{Conn: c, broken: n.closeIdle, ended: make(chan struct{}), closed: make(chan struct{})}, nil
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
	n.reads.ReadBufferSize, n.reads.WriteBufferSize = 2<<10, 1<<10 // each stream has its own
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
func (u *Upstream) take() (*pool, error) {
	var cert *tls.Certificate
	if u.o.Route.Certificate != nil {
		var err error
		if cert, err = u.o.Route.Certificate(); err != nil {
			u.replace(nil)
			return nil, &CertError{err}
		}
	}
	sum := fingerprint(cert)
	u.mu.Lock()
	n := u.current
	u.mu.Unlock()
	if n == nil || n.cert != sum {
		n = u.replace(u.newPool(cert))
	}
	return n, nil
}

// replace puts by in the place of the pool there is, unless that was made with
// the same certificate. It returns the one that is there now. The other's
// connections are closed, those that carry a request after it.
func (u *Upstream) replace(by *pool) *pool {
	u.mu.Lock()
	old := u.current
	if old != nil && by != nil && old.cert == by.cert {
		u.mu.Unlock()
		return old
	}
	u.current = by
	u.mu.Unlock()
	if old != nil {
		u.background(old.retire) // saying goodbye may take a moment
	}
	return by
}

func (n *pool) retire() {
	n.retired.Store(true)
	n.closeIdle()
}

func (n *pool) closeIdle() {
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
