package reversetunnel

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/conn"
)

// Bounds of the wait for a sign of life. Once nothing came for KeepAliveInterval,
// the other side is asked for some, and given up after KeepAliveTimeout more.
const (
	KeepAliveInterval = 3 * time.Second
	KeepAliveTimeout  = 5 * time.Second
	// sayInterval is for real proxies, which cannot be asked.
	sayInterval = 15 * time.Second
)

// SilentError says that the other side of a tunnel gave no sign of life.
type SilentError struct {
	After time.Duration
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("no sign of life from the other side for %v", e.After.Round(100*time.Millisecond))
}

// Timeout makes it a net.Error's.
func (e *SilentError) Timeout() bool { return true }

// Is makes it a context.DeadlineExceeded.
func (e *SilentError) Is(target error) bool { return target == context.DeadlineExceeded }

// Wire is the connection beneath SSH. It keeps how that ended, because
// x/crypto/ssh does not tell: the channels of a broken connection read there as
// if they had come to their end.
type Wire struct {
	net.Conn
	heard atomic.Int64 // UnixNano of the last byte that came, or of the beginning
	any   atomic.Bool  // something has come

	mu  sync.Mutex
	err error
}

// NewWire returns c as a Wire, which owns it.
func NewWire(c net.Conn) *Wire {
	w := &Wire{Conn: c}
	w.heard.Store(time.Now().UnixNano())
	return w
}

func (w *Wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.any.Store(true)
		w.heard.Store(time.Now().UnixNano())
	}
	if err == io.EOF { // SSH ends by a message
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		w.end(err)
	}
	return n, err
}

// Close ends the connection. Streams that are still open break.
func (w *Wire) Close() error {
	w.end(net.ErrClosed)
	return w.Conn.Close()
}

// Break ends the connection for a reason.
func (w *Wire) Break(err error) {
	w.end(err)
	conn.Abort(w.Conn)
}

func (w *Wire) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// Lost returns how the connection ended, and nil as long as it has not.
func (w *Wire) Lost() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Heard reports whether the other side has said anything at all.
func (w *Wire) Heard() bool { return w.any.Load() }

func (w *Wire) quiet() time.Duration { return time.Since(time.Unix(0, w.heard.Load())) }

// KeepAlive breaks w when nothing comes from the other side any more. It returns
// when ctx ends or w has broken.
//
// What counts is any byte, not the answer: on a slow and busy connection that
// waits behind a lot of data.
func KeepAlive(ctx context.Context, c ssh.Conn, w *Wire) {
	var answered chan struct{} // nil: nothing was asked
	timer := time.NewTimer(KeepAliveInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-answered:
			answered = nil
			continue
		case <-timer.C:
		}
		quiet := w.quiet()
		switch {
		case quiet < KeepAliveInterval:
			timer.Reset(KeepAliveInterval - quiet)
		case quiet >= KeepAliveInterval+KeepAliveTimeout:
			w.Break(&SilentError{After: quiet})
			return
		default:
			if answered == nil {
				done := make(chan struct{})
				answered = done
				go func() {
					defer close(done)
					c.SendRequest(RequestKeepAlive, true, nil) // ends with c at the latest
				}()
			}
			timer.Reset(KeepAliveInterval + KeepAliveTimeout - quiet)
		}
	}
}

// say has bytes go out to a side that answers nothing: TCP finds out by them that
// nobody is there. It returns when ctx ends or the tunnel has broken.
func say(ctx context.Context, c ssh.Conn) {
	tick := time.NewTicker(sayInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, _, err := c.SendRequest(RequestKeepAlive, false, nil); err != nil {
			return
		}
	}
}
