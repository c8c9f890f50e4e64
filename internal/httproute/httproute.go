// Package httproute sends HTTP/1.1 requests over one route of the access proxy
// and keeps the connections for the next ones.
//
//	up := httproute.New(httproute.Options{Route: route, Dialer: dialer})
//	defer up.Close()
//	h := up.Reverse(httproute.ReverseOptions{Failed: answer}) // an http.Handler
//
// What reads is repeated on another connection if the kept one turns out to be
// dead. What writes is made once. What asks for another protocol gets a
// connection for itself, and from then on bytes pass both ways. Nothing is
// buffered, compressed or added.
package httproute

import (
	"context"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"

	"tshx/internal/tlsroute"
)

// DefaultDials is how many dials may be in progress: enough for the round trips
// of some to overlap with the handshakes of others. More only get slower, all at
// once.
const DefaultDials = 8

// Limit bounds how many dials are in progress, of all who share it. Those above
// it wait.
type Limit chan struct{}

// NewLimit lets n dials go on at once; DefaultDials if n is not positive.
func NewLimit(n int) Limit {
	if n <= 0 {
		n = DefaultDials
	}
	return make(Limit, n)
}

// Options configure an Upstream. Only Route and Dialer are needed.
type Options struct {
	// Route offers tlsroute.ALPNHTTP1. Its certificate is asked for at each
	// request, so that a new login is seen at once; an error is a *CertError.
	Route  tlsroute.Route
	Dialer tlsroute.RouteDialer
	Limit  Limit        // nil means one of its own
	Log    *slog.Logger // nil drops all
}

// Upstream is what one route leads to. It implements http.RoundTripper.
type Upstream struct {
	o Options

	ctx    context.Context // ends with the Upstream
	cancel context.CancelFunc
	wg     sync.WaitGroup // all that goes on

	mu      sync.Mutex
	closed  bool
	current *pool // nil before the first request and after a failed certificate
}

// New makes an Upstream, which dials nothing yet. The caller closes it.
func New(o Options) *Upstream {
	if o.Limit == nil {
		o.Limit = NewLimit(0)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	u := &Upstream{o: o}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	return u
}

// Close cuts the requests of Reverse and the dials, closes the connections that
// are kept, and returns when all that has ended. Requests of RoundTrip end with
// their own contexts and bodies.
func (u *Upstream) Close() error {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.cancel()
	u.wg.Wait()
	u.replace(nil)
	return nil
}

// upstreamHost stands for the route in URLs, whatever host a request names, so
// that all of them share connections. Nobody sees it.
const upstreamHost = "route.invalid"

// RoundTrip implements http.RoundTripper. It sends req.Host, or the host of the
// URL if that is empty; where it goes is up to the route alone. A response that
// has changed the protocol is fit for Reverse only.
func (u *Upstream) RoundTrip(req *http.Request) (*http.Response, error) {
	n, err := u.take()
	if err != nil {
		return nil, err
	}
	req = u.prepare(req)
	if req.Header.Get("Upgrade") != "" {
		return u.upgrade(req, n.route)
	}
	if req.Body == nil && (req.Method == http.MethodGet || req.Method == http.MethodHead) {
		return n.send(n.reads, req)
	}
	return n.once(req)
}

// prepare returns a copy of req that is bound for the route.
func (u *Upstream) prepare(req *http.Request) *http.Request {
	ctx := req.Context()
	out := req.WithContext(context.WithValue(ctx, askerKey{}, ctx))
	if out.Host == "" {
		out.Host = req.URL.Host
	}
	to := *req.URL
	to.Scheme, to.Host, to.User = "https", upstreamHost, (*url.Userinfo)(nil)
	out.URL = &to
	return out
}

// begin counts something that goes on, to be ended by u.wg.Done. It returns false
// once u is closed.
func (u *Upstream) begin() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return false
	}
	u.wg.Add(1)
	return true
}

// background runs f beside the caller, or before it goes on where u is closed.
func (u *Upstream) background(f func()) {
	if !u.begin() {
		f()
		return
	}
	go func() {
		defer u.wg.Done()
		f()
	}()
}

// askerKey is of the context of the request that a dial is for: that of the dial
// itself outlives it, by net/http.
type askerKey struct{}

// dial waits for its turn, as long as the request does. A turn is one dial, which
// has its own bounds.
func (u *Upstream) dial(ctx context.Context, r tlsroute.Route) (net.Conn, error) {
	if !u.begin() {
		return nil, net.ErrClosed
	}
	defer u.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.ctx, cancel)()
	asker, ok := ctx.Value(askerKey{}).(context.Context)
	if !ok {
		asker = ctx
	}
	select {
	case u.o.Limit <- struct{}{}:
	case <-asker.Done():
		return nil, context.Cause(asker)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-u.o.Limit }()
	return u.o.Dialer.Dial(ctx, r)
}

func (u *Upstream) errorLog() *log.Logger {
	return slog.NewLogLogger(u.o.Log.Handler(), slog.LevelDebug)
}
