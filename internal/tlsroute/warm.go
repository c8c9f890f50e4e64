package tlsroute

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tshx/internal/conn"
)

// aheadChunk is how much is read at once before there is a reader, maxAhead how
// much in all, in bytes. No server greets with more.
const (
	aheadChunk = 512
	maxAhead   = 4 << 10
)

// warm is a connection of a Pool. From the start there is a read in progress,
// which notices its end and takes up what the server says first; its result goes
// to the first Read of the user.
//
// Until the user has sent or received something, set a deadline, half-closed or
// asked for NetConn, a connection that has ended is replaced, once. A first write
// of which nothing was sent goes to the replacement too.
type warm struct {
	terms  terms
	born   time.Time   // by the pool's clock
	expire *time.Timer // the pool's

	now   func() time.Time
	again func(context.Context) (net.Conn, error)
	onEnd func(quick bool) // it ended before it was handed out
	// onSilence is called when the network carries nothing any more, perhaps more
	// than once.
	onSilence func()

	ctx    context.Context // of the replacement
	cancel context.CancelFunc

	swap    sync.Mutex // a replacement and its cancellation exclude each other
	current atomic.Pointer[net.Conn]
	bound   atomic.Bool // it will not be replaced any more
	direct  atomic.Bool // nothing is read ahead any more

	mu      sync.Mutex
	taken   bool
	greeted time.Time     // when the server spoke; zero if it has not
	stale   bool          // the connection that is read was replaced
	ahead   []byte        // not read by the user yet
	done    chan struct{} // closed when no read of ours is in progress
	err     error         // of that read; set before done is closed
}

func newWarm(c net.Conn, tm terms, now func() time.Time, again func(context.Context) (net.Conn, error)) *warm {
	w := &warm{terms: tm, now: now, born: now(), again: again, done: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.current.Store(&c)
	return w
}

// start begins the read.
func (w *warm) start() { go w.readAhead(w.conn()) }

func (w *warm) conn() net.Conn { return *w.current.Load() }

func (w *warm) readAhead(c net.Conn) {
	for {
		buf := make([]byte, aheadChunk)
		n, err := c.Read(buf)
		w.mu.Lock()
		if w.stale {
			n, err = 0, nil
		}
		if n > 0 && w.greeted.IsZero() {
			w.greeted = w.now()
		}
		w.ahead = append(w.ahead, buf[:n]...)
		taken := w.taken
		if taken && errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil // the user's deadline: Read meets it again, if it still holds
		}
		if err != nil || taken || len(w.ahead) >= maxAhead {
			w.err = err
			close(w.done)
			w.mu.Unlock()
			if !taken && w.ctx.Err() == nil {
				w.onEnd(w.now().Sub(w.born) < greetedMaxAge)
			}
			return
		}
		w.mu.Unlock()
	}
}

// greetedAt returns when the server spoke, zero if it has not.
func (w *warm) greetedAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.greeted
}

// handOut gives w to its user. It returns false if w has ended.
func (w *warm) handOut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended() {
		return false
	}
	w.taken = true
	w.expire.Stop()
	return true
}

// ended reports whether the read ahead is over.
func (w *warm) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func (w *warm) Read(p []byte) (int, error) {
	for !w.direct.Load() {
		if len(p) == 0 {
			return 0, nil
		}
		w.mu.Lock()
		n := copy(p, w.ahead)
		if w.ahead = w.ahead[n:]; n > 0 {
			w.bound.Store(true)
			w.direct.Store(len(w.ahead) == 0 && w.ended() && w.err == nil)
			w.mu.Unlock()
			return n, nil
		}
		over := w.ended()
		var err error
		if over {
			if err = w.replace(); err == nil {
				w.direct.Store(true)
				w.ahead = nil
			}
		}
		w.mu.Unlock()
		if err != nil {
			return 0, w.broke(err)
		}
		if !over {
			<-w.done
		}
	}
	n, err := w.conn().Read(p)
	return n, w.broke(err)
}

// broke passes on the error of a read or write.
func (w *warm) broke(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		w.onSilence()
	}
	return err
}

// Polled implements conn.Polled. It returns nil as long as something is read
// ahead.
func (w *warm) Polled() net.Conn {
	if !w.direct.Load() {
		return nil
	}
	return w.conn()
}

// replace dials anew if the connection has ended and may still be replaced. Its
// error is that of the connection. It expects mu to be held and the read ahead to
// be over.
func (w *warm) replace() error {
	if w.err == nil || w.bound.Load() || len(w.ahead) > 0 {
		return w.err
	}
	w.err = w.renew()
	w.bound.Store(true) // not before: a Write that sees it does not wait
	return w.err
}

// renew puts a fresh connection in the place of one that has ended.
func (w *warm) renew() error {
	c, err := w.again(w.ctx)
	if err != nil {
		return err
	}
	w.swap.Lock()
	defer w.swap.Unlock()
	if w.ctx.Err() != nil {
		c.Close()
		return net.ErrClosed
	}
	old := w.conn()
	w.current.Store(&c)
	go old.Close() // may take a second
	return nil
}

// giveUp ends a replacement in progress and allows no other. It returns the
// connection for good.
func (w *warm) giveUp() net.Conn {
	w.swap.Lock()
	defer w.swap.Unlock()
	w.cancel()
	w.bound.Store(true)
	return w.conn()
}

// bind makes sure that the connection is not replaced later, and is if it has
// ended before.
func (w *warm) bind() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended() && w.err != nil {
		return w.replace()
	}
	w.bound.Store(true)
	return nil
}

func (w *warm) Write(p []byte) (int, error) {
	if !w.bound.Load() && len(p) > 0 {
		return w.writeFirst(p)
	}
	n, err := w.conn().Write(p)
	return n, w.broke(err)
}

// writeFirst holds the lock, so that a reader waits for the outcome.
func (w *warm) writeFirst(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.bound.Store(true)
	if w.ended() && w.err != nil {
		if err := w.replace(); err != nil && err != io.EOF { // which ends the other direction only
			return 0, w.broke(err)
		}
	}
	spare := !w.bound.Load()
	n, err := w.conn().Write(p)
	if n > 0 || err == nil || !spare {
		return n, w.broke(err)
	}
	// Not one whole record got into the network.
	if w.renew() != nil {
		return 0, w.broke(err)
	}
	w.ahead, w.err, w.stale = nil, nil, true
	n, err = w.conn().Write(p)
	return n, w.broke(err)
}

// CloseWrite half-closes.
func (w *warm) CloseWrite() error {
	w.bind() // a read tells the error
	return conn.CloseWrite(w.conn())
}

// Close ends a replacement in progress as well.
func (w *warm) Close() error { return w.giveUp().Close() }

// NetConn returns the connection beneath, as tls.Conn.NetConn does. Who asks for
// it means this one, mostly to break it.
func (w *warm) NetConn() net.Conn { return w.giveUp() }

func (w *warm) LocalAddr() net.Addr  { return w.conn().LocalAddr() }
func (w *warm) RemoteAddr() net.Addr { return w.conn().RemoteAddr() }

func (w *warm) SetDeadline(t time.Time) error {
	w.bind()
	return w.conn().SetDeadline(t)
}

func (w *warm) SetReadDeadline(t time.Time) error {
	w.bind()
	return w.conn().SetReadDeadline(t)
}

func (w *warm) SetWriteDeadline(t time.Time) error {
	w.bind()
	return w.conn().SetWriteDeadline(t)
}
