package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"tshx/internal/conn"
	"tshx/internal/tlsroute"
)

// slowAfter is how long a dial takes before people want to know whose fault it
// is.
const slowAfter = 5 * time.Second

// slowDialer says when a dial takes long: its client only sees that nothing
// happens. Of many at once it speaks for all. A dial that fails by a reset is a
// *hungUpError.
type slowDialer struct {
	tlsroute.RouteDialer
	env  *Env
	addr string // of the proxy

	mu   sync.Mutex
	said time.Time
}

// patient makes dialer, which is the login's or on top of it, tell when it waits.
func (l *login) patient(env *Env, dialer tlsroute.RouteDialer) tlsroute.RouteDialer {
	return &slowDialer{RouteDialer: dialer, env: env, addr: l.WebAddr}
}

// Dial implements tlsroute.RouteDialer.
func (s *slowDialer) Dial(ctx context.Context, r tlsroute.Route) (net.Conn, error) {
	defer time.AfterFunc(slowAfter, s.tell).Stop()
	c, err := s.RouteDialer.Dial(ctx, r)
	if conn.PeerGone(err) {
		err = &hungUpError{err}
	}
	return c, err
}

// hungUpError is a dial that the other side broke off. Later, a broken
// connection has other reasons.
type hungUpError struct {
	error
}

func (e *hungUpError) Unwrap() error { return e.error }

func (s *slowDialer) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.said.IsZero() || now.Sub(s.said) >= repeatAfter {
		s.said = now
		say(s.env, fmt.Sprintf("waiting for the proxy %s: no answer for %v yet", s.addr, slowAfter))
	}
}
