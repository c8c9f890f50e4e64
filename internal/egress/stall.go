package egress

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// StallTimeout is how long bytes may be under way without a sign of life from
// the other side before the connection counts as dead. People take a program for
// hung after three seconds; a phone that changes cells is silent for one or two.
//
// The kernel's own bound would be a quarter of an hour. On Linux it is not
// lowered by TCP_USER_TIMEOUT, because that also ends two kinds of healthy
// connections: those whose reader takes nothing for as long (a database that
// writes out its buffers), and idle ones of which one keepalive probe was lost.
// What is watched instead is whether the kernel has to send again and hears
// nothing. On macOS and Windows the kernel bounds its retransmissions to about
// the same; on other systems there is no bound but its own.
const StallTimeout = 2500 * time.Millisecond

// stallTick is the time between two looks at a connection on which something is
// under way.
const stallTick = StallTimeout / 10

// StallError says that the network carries nothing to the other side any more.
type StallError struct {
	After time.Duration // for which there was no sign of life
}

func (e *StallError) Error() string {
	return fmt.Sprintf("the network carries nothing any more: no acknowledgement for %v", e.After.Round(100*time.Millisecond))
}

// Is makes it a context.DeadlineExceeded: like a dial that got no answer, it says
// nothing about who is at the other end.
func (e *StallError) Is(target error) bool { return target == context.DeadlineExceeded }

// flight is what the kernel knows about bytes that were written.
type flight struct {
	outstanding bool          // some are not acknowledged, or not sent
	heard       time.Duration // since the last acknowledgement of any kind
	lost        bool          // they were sent again, in vain, more than once
}

// watched is a TCP connection that breaks with a StallError. Looking at it costs
// nothing while it is idle, and as good as nothing in Write.
type watched struct {
	net.Conn // a *net.TCPConn; not by that type, whose ReadFrom would go past Write
	out      io.Writer
	look     func() (flight, error)

	armed atomic.Bool // a look is due
	dead  atomic.Pointer[StallError]

	mu     sync.Mutex
	timer  *time.Timer // nil before the first Write
	since  time.Time   // nothing was heard from here on; zero when nothing is outstanding
	closed bool
}

func (w *watched) Write(p []byte) (int, error) {
	if !w.armed.Load() {
		w.arm()
	}
	n, err := w.out.Write(p)
	return n, w.explain(err)
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	return n, w.explain(err)
}

// explain puts the reason in the place of the error of a connection that was
// closed for it.
func (w *watched) explain(err error) error {
	if dead := w.dead.Load(); err != nil && dead != nil {
		return dead
	}
	return err
}

func (w *watched) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.armed.Swap(true) {
		return
	}
	if w.timer == nil {
		w.timer = time.AfterFunc(stallTick, w.check)
		return
	}
	w.timer.Reset(stallTick)
}

// check looks whether what is under way gets anywhere.
func (w *watched) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.armed.Store(false) // before the look, so that no Write goes unwatched
	f, err := w.look()
	if err != nil || !f.outstanding {
		w.since = time.Time{}
		return
	}
	now := time.Now()
	switch {
	case w.since.IsZero() && f.heard >= stallTick:
		w.since = now.Add(-stallTick) // when the look was ordered
	case w.since.IsZero() || f.heard < now.Sub(w.since):
		w.since = now
	}
	if quiet := now.Sub(w.since); f.lost && quiet >= StallTimeout {
		w.closed = true
		w.dead.Store(&StallError{After: quiet})
		if c, ok := w.Conn.(*net.TCPConn); ok {
			c.SetLinger(0) // nobody would take what is left
		}
		w.Conn.Close()
		return
	}
	w.armed.Store(true)
	w.timer.Reset(stallTick)
}

// CloseWrite half-closes.
func (w *watched) CloseWrite() error {
	if !w.armed.Load() {
		w.arm() // the end must arrive too
	}
	return w.explain(w.Conn.(interface{ CloseWrite() error }).CloseWrite())
}

func (w *watched) Close() error {
	w.mu.Lock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	return w.Conn.Close()
}

// NetConn returns the TCP connection, as tls.Conn.NetConn does.
func (w *watched) NetConn() net.Conn { return w.Conn }

// ReadError is explain for conn.Watched, which reads past Read.
func (w *watched) ReadError(err error) error { return w.explain(err) }
