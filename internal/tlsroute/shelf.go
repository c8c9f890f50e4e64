package tlsroute

import (
	"cmp"
	"context"
	"net"
	"slices"
	"time"
)

// shelf holds the warm connections of one route. Its Pool's lock guards it.
type shelf struct {
	pool    *Pool
	route   Route
	ready   []*warm // the oldest first
	dialing int
	want    int
	asked   time.Time // when the last client came
	pause   time.Duration
	retry   *time.Timer // set during a pause
}

// young reports whether w may be handed out by its age. A clock that was set back
// makes it old too.
func (p *Pool) young(w *warm) bool {
	now := p.now()
	age := now.Sub(w.born)
	greeted := w.greetedAt()
	return age >= 0 && age < WarmMaxAge && (greeted.IsZero() || now.Sub(greeted) < greetedMaxAge)
}

// demand has the shelf filled for the next client, and with one more than
// before where none was left for this one.
func (p *Pool) demand(s *shelf, more int) {
	p.mu.Lock()
	s.want = min(max(s.want+more, 1), p.Size)
	p.mu.Unlock()
	p.fill(s)
}

// fill starts as many dials as the shelf lacks.
func (p *Pool) fill(s *shelf) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || s.retry != nil {
		return
	}
	if p.now().Sub(s.asked) >= WarmIdle {
		s.want = 0
	}
	for len(s.ready)+s.dialing < s.want {
		s.dialing++
		p.wg.Go(func() { p.refill(s) })
	}
}

func (p *Pool) refill(s *shelf) {
	p.mu.Lock()
	r := s.route
	p.mu.Unlock()
	w, err := p.dialWarm(r)
	p.mu.Lock()
	s.dialing--
	closed := p.closed
	if err == nil && !closed {
		w.onEnd = func(quick bool) { p.ended(s, w, quick) }
		w.onSilence = func() { p.flush(s, "silence on another one") }
		w.expire = time.AfterFunc(WarmMaxAge, func() { p.outlived(s, w) })
		s.ready = append(s.ready, w)
	}
	if err != nil && !closed {
		s.backOff()
	}
	p.mu.Unlock()
	switch {
	case err != nil:
		p.log().Debug("warm connection failed", "route", r.Name, "err", err)
	case closed:
		w.Close()
	default:
		p.log().Debug("warm connection ready", "route", r.Name)
		w.start()
	}
}

func (p *Pool) dialWarm(r Route) (*warm, error) {
	cert, err := r.certificate()
	if err != nil {
		return nil, err
	}
	c, tm, err := p.Dialer.dial(p.ctx, r, cert)
	if err != nil {
		return nil, err
	}
	again := func(ctx context.Context) (net.Conn, error) { return p.Dialer.Dial(ctx, r) }
	return newWarm(c, tm, p.now, again), nil
}

// backOff expects the pool's lock to be held.
func (s *shelf) backOff() {
	s.pause = min(cmp.Or(2*s.pause, refillPause), WarmIdle)
	s.stopRetry()
	s.retry = time.AfterFunc(s.pause, func() {
		s.pool.mu.Lock()
		s.retry = nil
		s.pool.mu.Unlock()
		s.pool.fill(s)
	})
}

func (s *shelf) stopRetry() {
	if s.retry != nil {
		s.retry.Stop()
		s.retry = nil
	}
}

// outlived retires a connection that no client came for in time.
func (p *Pool) outlived(s *shelf, w *warm) {
	p.mu.Lock()
	i := slices.Index(s.ready, w)
	if i < 0 {
		p.mu.Unlock()
		return
	}
	s.ready = slices.Delete(s.ready, i, i+1)
	s.want = max(s.want-1, 1)
	s.pause = 0
	p.mu.Unlock()
	p.drop(w, "age")
	p.fill(s)
}

// ended retires a connection that ended while it was ready. One that did so
// quickly would do so again.
func (p *Pool) ended(s *shelf, w *warm, quick bool) {
	p.mu.Lock()
	i := slices.Index(s.ready, w)
	if i >= 0 {
		s.ready = slices.Delete(s.ready, i, i+1)
	}
	switch {
	case p.closed:
	case quick:
		s.backOff()
	default:
		s.pause = 0
	}
	p.mu.Unlock()
	if i >= 0 {
		p.drop(w, "ended")
		p.fill(s)
	}
}

// flush retires all that is ready on one shelf.
func (p *Pool) flush(s *shelf, why string) {
	p.mu.Lock()
	ready := s.ready
	s.ready = nil
	p.mu.Unlock()
	for _, w := range ready {
		p.drop(w, why)
	}
}
