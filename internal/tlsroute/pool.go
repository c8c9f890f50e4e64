package tlsroute

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of a Pool.
const (
	// WarmMaxAge is how old a connection may be when it is handed out. Balancers
	// are known to cut idle streams after 15 s.
	WarmMaxAge = 10 * time.Second
	// greetedMaxAge is the same once the server has spoken first, for then it is
	// waiting for an answer: MySQL waits for 10 s (connect_timeout).
	greetedMaxAge = 5 * time.Second
	// WarmIdle is how long after the last client connections are still renewed.
	WarmIdle = 30 * time.Second
	// refillPause is the wait after a refill that failed. It doubles each time up
	// to WarmIdle.
	refillPause = time.Second
	// maxShelves bounds how many routes a pool keeps connections for.
	maxShelves = 8
)

// RouteDialer opens connections to the proxy: a Dialer, or a Pool in front of
// one.
type RouteDialer interface {
	Dial(ctx context.Context, r Route) (net.Conn, error)
}

// Pool is a Dialer that keeps connections ready, so that a client need not wait
// for the round trips of TCP, TLS and the upgrade. Its zero value with a Dialer
// keeps none. It is safe for concurrent use.
//
// Nothing is dialled ahead before the first client came, and nothing is kept
// when none came for WarmIdle. In between there are as many as clients were seen
// to want, up to Size for each route. Routes are the same that agree in all
// fields but Certificate, and in whether that is nil.
//
// A connection is handed out only as long as a new one would be made on the same
// terms (certificate on disk, trusted authorities, way to the proxy), younger
// than WarmMaxAge by the wall clock, which goes on while a machine sleeps, and
// not ended by the other side. The end may also be found after that: up to the
// client's first byte the connection is replaced by a fresh one. Behind that
// byte it cannot be, since nobody knows what the server has made of it; but then
// it was alive a moment before, as any connection was that is cut in use.
//
// What a server says first is kept and read first. A refill that fails is not
// reported, and is tried again after a growing pause.
type Pool struct {
	Dialer *Dialer
	// Size is the most connections that are kept for one route.
	Size int
	// Log is told at Debug level. Nil means the Dialer's.
	Log *slog.Logger
	// Now is the wall clock. Nil means time.Now.
	Now func() time.Time

	mu      sync.Mutex
	shelves map[shelfKey]*shelf
	closed  bool
	ctx     context.Context // of refills
	cancel  context.CancelFunc
	wg      sync.WaitGroup // refills, and ends of connections that were not used
}

// DefaultWarm is the Size of a pool for r alone where the user asks for none: 1
// where the proxy only waits for what the client says first, 0 where the
// connection itself has an effect behind the proxy.
//
// The proxy speaks the protocols of PostgreSQL and MySQL itself, and it waits
// for a second TLS handshake of clients that bring their own certificate. On
// other routes it reaches through to the server at once, where a connection that
// no client uses is a session in the audit log, counts against limits, and may
// count as a failed login. One is enough for a client that connects now and then;
// a storm of them gains nothing from a pool, since it costs the same work.
func DefaultWarm(r Route) int {
	front := func(name string) bool { return slices.Contains(plainDB, strings.TrimSuffix(name, pingSuffix)) }
	inner := func(name string) bool { return r.Certificate == nil && HasInnerTLS(name) }
	if slices.ContainsFunc(r.ALPN, front) || slices.ContainsFunc(r.ALPN, inner) {
		return 1
	}
	return 0
}

// shelfKey tells routes apart.
type shelfKey struct {
	name, alpn, serverName string
	hostCert, certificate  bool
}

// Dial returns a warm connection, or dials like Dialer.Dial. The caller closes
// it.
func (p *Pool) Dial(ctx context.Context, r Route) (net.Conn, error) {
	s := p.shelf(r)
	if s == nil {
		return p.Dialer.Dial(ctx, r)
	}
	cert, err := r.certificate()
	if err != nil {
		p.flush(s, "certificate")
		return nil, err
	}
	var tm terms
	way, known := p.Dialer.Finder.Known()
	if known {
		tm, err = p.Dialer.terms(way, r, cert)
	}
	if known && err == nil {
		if w := p.take(s, tm); w != nil {
			p.log().Debug("warm connection used", "route", r.Name, "age", p.now().Sub(w.born))
			p.demand(s, 0)
			return w, nil
		}
	}
	c, _, err := p.Dialer.dial(ctx, r, cert)
	if err != nil {
		if ctx.Err() == nil {
			p.flush(s, "failed dial") // the others go the same way
		}
		return nil, err
	}
	p.demand(s, 1)
	return c, nil
}

// Close closes the connections that are ready and waits for those that are being
// dialled. Those handed out stay. Later Dials go to the Dialer.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	if p.cancel != nil {
		p.cancel()
	}
	var ready []*warm
	for _, s := range p.shelves {
		s.stopRetry()
		ready = append(ready, s.ready...)
		s.ready = nil
	}
	p.shelves = nil
	p.mu.Unlock()
	var closing sync.WaitGroup
	for _, w := range ready {
		closing.Go(func() { p.drop(w, "closed") })
	}
	closing.Wait()
	p.wg.Wait()
	return nil
}

// shelf returns nil where nothing is to be kept.
func (p *Pool) shelf(r Route) *shelf {
	if p.Size <= 0 {
		return nil
	}
	key := shelfKey{r.Name, protoKey(r.ALPN), r.ServerName, r.HostCert, r.Certificate != nil}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelves[key]
	if s == nil {
		if p.closed || len(p.shelves) == maxShelves {
			return nil
		}
		if p.shelves == nil {
			p.shelves = map[shelfKey]*shelf{}
			p.ctx, p.cancel = context.WithCancel(context.Background())
		}
		s = &shelf{pool: p}
		p.shelves[key] = s
	}
	s.route, s.asked = r, p.now()
	return s
}

// take returns the oldest connection that is good, and retires those before it.
func (p *Pool) take(s *shelf, tm terms) *warm {
	for {
		p.mu.Lock()
		if len(s.ready) == 0 {
			p.mu.Unlock()
			return nil
		}
		w := s.ready[0]
		s.ready = slices.Delete(s.ready, 0, 1)
		p.mu.Unlock()
		why := ""
		switch {
		case !w.terms.equal(tm):
			why = "changed terms"
		case !p.young(w):
			why = "age"
		case !w.handOut(): // must be last
			why = "ended"
		}
		if why == "" {
			return w
		}
		p.drop(w, why)
	}
}

// drop closes a connection that nobody will use. It does not wait, unless the
// pool is closed: a close can take a second where the other side takes nothing
// any more.
func (p *Pool) drop(w *warm, why string) {
	p.log().Debug("warm connection retired", "reason", why)
	w.expire.Stop()
	p.mu.Lock()
	if !p.closed {
		p.wg.Go(func() { w.Close() })
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	w.Close()
}

// now is the time without the monotonic clock, which stands still while the
// machine sleeps.
func (p *Pool) now() time.Time {
	if p.Now != nil {
		return p.Now().Round(0)
	}
	return time.Now().Round(0)
}

func (p *Pool) log() *slog.Logger {
	if p.Log != nil {
		return p.Log
	}
	return p.Dialer.log()
}
