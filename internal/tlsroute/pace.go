package tlsroute

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// SilenceTimeout bounds how long a dial waits for a sign of life, once the
// proxy has answered a dial of this process. It is below the three seconds
// after which people take a program for hung, and long enough for two lost
// SYNs, which Linux sends again after one and two seconds.
//
// The first dial has ConnectTimeout and HandshakeTimeout instead, because
// nothing is known of the way yet, and a way on which answers take long has
// silenceFactor times as long as they usually take.
const (
	SilenceTimeout = 2800 * time.Millisecond
	silenceFactor  = 2
)

// pace is how long the proxy takes to answer. With it a dial into a network that
// carries nothing any more fails soon, and one to a proxy that is merely slow
// does not.
type pace struct {
	mu    sync.Mutex
	gap   time.Duration // the longest silence of dials that worked, see learn; 0: none has
	heard time.Time     // when the proxy last answered any dial
}

// watch follows one dial. Its steps are the signs of life.
type watch struct {
	pace   *pace
	bound  time.Duration // 0: none
	silent error         // what the dial fails with
	cancel context.CancelCauseFunc
	timer  *time.Timer

	mu   sync.Mutex
	last time.Time // the last step, at first the start
	gap  time.Duration
}

// watch begins a dial to addr. The context that it returns ends when the
// silence has lasted too long. The caller ends the watch.
func (p *pace) watch(ctx context.Context, addr string) (context.Context, *watch) {
	w := &watch{pace: p, last: time.Now()}
	p.mu.Lock()
	if p.gap > 0 {
		w.bound = min(max(SilenceTimeout, silenceFactor*p.gap), ConnectTimeout)
	}
	p.mu.Unlock()
	ctx, w.cancel = context.WithCancelCause(ctx)
	if w.bound > 0 {
		w.silent = fmt.Errorf("no answer from %s within %v: %w", addr, w.bound, context.DeadlineExceeded)
		w.mu.Lock() // the timer may fire at once
		defer w.mu.Unlock()
		w.timer = time.AfterFunc(w.bound, w.check)
	}
	return ctx, w
}

// step notes a sign of life. answered says that it was the proxy's or the
// balancer's own: the kernel of a machine that hangs still takes connections.
func (w *watch) step(answered bool) {
	now := time.Now()
	w.mu.Lock()
	w.gap, w.last = max(w.gap, now.Sub(w.last)), now
	w.mu.Unlock()
	if answered {
		w.pace.mu.Lock()
		w.pace.heard = now
		w.pace.mu.Unlock()
	}
}

// skip leaves what has passed since the last step out of the gap: it was no wait
// for one answer.
func (w *watch) skip() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
}

// learn takes over the gap of a dial that worked, at once if it is shorter, and
// step by step if it is longer: a single slow one may be that of a machine that
// was busy.
func (p *pace) learn(gap time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gap = max(gap, time.Millisecond)
	if p.gap > 0 {
		gap = min(gap, 2*p.gap)
	}
	p.gap = gap
}

// check ends the dial after a silence. While other dials are answered this one
// is only waiting for its turn, as when thousands begin at once.
func (w *watch) check() {
	w.pace.mu.Lock()
	heard := w.pace.heard
	w.pace.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last.After(heard) {
		heard = w.last
	}
	if left := w.bound - time.Since(heard); left > 0 {
		w.timer.Reset(left)
		return
	}
	w.cancel(w.silent)
}

// end finishes the watch of a dial that ended with err, and returns what to
// tell: err, or that there was silence.
func (w *watch) end(ctx context.Context, err error) error {
	if w.timer != nil {
		w.timer.Stop()
	}
	cause := context.Cause(ctx)
	w.cancel(nil)
	switch {
	case err == nil:
		w.pace.learn(w.gap)
	case w.silent != nil && cause == w.silent && !errors.Is(err, w.silent):
		return w.silent
	}
	return err
}
