package reversetunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// Errors of a Stream.
var (
	// ErrBroken says that the stream broke behind the other end of the tunnel.
	ErrBroken = errors.New("the stream broke off behind the tunnel")
	// ErrClosed says that the other side takes no more bytes.
	ErrClosed = errors.New("the other side of the tunnel has closed the stream")
)

// Stream is a transport channel as a net.Conn. It half-closes, and tells a broken
// stream from one that has ended: one is broken when its tunnel is lost, or when
// the other side says so by RequestBroken. conn.Abort breaks it off.
//
// It deviates from other connections in its deadlines: one for reading counts for
// Reads that begin after a first one has been set, and a write whose deadline
// passes breaks the stream.
type Stream struct {
	ch            ssh.Channel
	wire          *Wire
	local, remote net.Addr
	done          func() // called once, by Close or Abort

	ask    chan chan struct{} // asks for all requests that have come to be seen
	ended  chan struct{}      // closed when no more requests come: the channel is closed
	broken atomic.Bool
	// complete: the other side has sent all it had, so that a tunnel that is lost
	// later takes nothing away.
	complete atomic.Bool
	closed   atomic.Bool

	read  timedReader
	until atomic.Int64 // UnixNano of the write deadline; 0 without one
}

// NewStream returns the stream of an accepted or opened channel with its
// requests. done, if not nil, is called when the stream is closed.
func NewStream(ch ssh.Channel, reqs <-chan *ssh.Request, w *Wire, done func()) *Stream {
	s := &Stream{
		ch: ch, wire: w, local: w.LocalAddr(), remote: w.RemoteAddr(), done: done,
		ask: make(chan chan struct{}), ended: make(chan struct{}),
	}
	s.read.raw = s.next
	go s.watch(reqs)
	return s
}

// watch sees the requests until the channel is closed. Those that came before an
// end of stream are seen when the stream asks, before it believes that end.
func (s *Stream) watch(reqs <-chan *ssh.Request) {
	defer close(s.ended)
	for {
		select {
		case r, ok := <-reqs:
			if !ok {
				return
			}
			s.request(r)
		case seen := <-s.ask:
			for more := true; more; {
				select {
				case r, ok := <-reqs:
					if !ok {
						close(seen)
						return
					}
					s.request(r)
				default:
					more = false
				}
			}
			close(seen)
		}
	}
}

func (s *Stream) request(r *ssh.Request) {
	switch r.Type {
	case RequestBroken:
		s.broken.Store(true)
	case RequestEnd:
		s.complete.Store(true)
	}
	if r.WantReply {
		r.Reply(false, nil)
	}
}

// Ended is closed when the other side has closed the stream, or the tunnel has
// gone.
func (s *Stream) Ended() <-chan struct{} { return s.ended }

// Read reads from the other side. io.EOF means that it has ended its direction.
func (s *Stream) Read(p []byte) (int, error) { return s.read.Read(p) }

// next reads the channel.
func (s *Stream) next(p []byte) (int, error) {
	n, err := s.ch.Read(p)
	switch {
	case n > 0: // an error would be about the window; what was received comes first
		return n, nil
	case err == io.EOF:
		return 0, s.ending()
	}
	return 0, err
}

// ending says how the stream ended of which the last byte has been read.
func (s *Stream) ending() error {
	seen := make(chan struct{})
	select {
	case s.ask <- seen:
		<-seen
	case <-s.ended:
	}
	switch lost := s.wire.Lost(); {
	case s.closed.Load():
		return net.ErrClosed
	case s.broken.Load():
		return ErrBroken
	case lost != nil && !s.complete.Load():
		return fmt.Errorf("tunnel lost: %w", lost)
	}
	return io.EOF
}

// Write sends to the other side.
func (s *Stream) Write(p []byte) (int, error) {
	if until := s.until.Load(); until != 0 {
		bound := time.AfterFunc(time.Until(time.Unix(0, until)), func() { s.Abort() })
		defer bound.Stop()
	}
	n, err := s.ch.Write(p)
	if err == io.EOF {
		err = s.unwritable()
	}
	return n, err
}

func (s *Stream) unwritable() error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	if lost := s.wire.Lost(); lost != nil {
		return fmt.Errorf("tunnel lost: %w", lost)
	}
	return ErrClosed
}

// CloseWrite tells the other side that no more bytes follow (RFC 4254, section
// 5.3).
func (s *Stream) CloseWrite() error {
	s.ch.SendRequest(RequestEnd, false, nil) // an error is that of what follows, too
	return s.ch.CloseWrite()
}

// Close ends the stream in order.
func (s *Stream) Close() error { return s.close(false) }

// Abort ends the stream so that the other side knows it for a broken one.
func (s *Stream) Abort() error { return s.close(true) }

func (s *Stream) close(broken bool) error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	if broken {
		s.ch.SendRequest(RequestBroken, false, nil)
	}
	err := s.ch.Close()
	s.read.close()
	if s.done != nil {
		s.done()
	}
	if err == io.EOF { // the other side was first
		err = nil
	}
	return err
}

// NetConn returns the stream as one that Close breaks off, for conn.Abort.
func (s *Stream) NetConn() net.Conn { return aborting{s, s} }

type aborting struct {
	net.Conn
	stream *Stream
}

func (a aborting) Close() error { return a.stream.Abort() }

func (s *Stream) LocalAddr() net.Addr  { return s.local }
func (s *Stream) RemoteAddr() net.Addr { return s.remote }

// SetDeadline sets both deadlines.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline bounds Reads. The first one has to be set before a Read begins.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.read.bound(t)
	return nil
}

// SetWriteDeadline bounds Writes that begin from here on.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		s.until.Store(0)
	} else {
		s.until.Store(t.UnixNano())
	}
	return nil
}

// opening bounds how long somebody may take to answer to the opening of a channel
// and say nothing else: nobody has to ask anyone, but on a slow tunnel the answer
// waits behind a lot of data.
const opening = 3 * time.Second

// opened is the answer to the opening of a channel.
type opened struct {
	ch   ssh.Channel
	reqs <-chan *ssh.Request
	err  error
}

// Open opens a channel on c, which is over w. The wait ends with ctx, or when w has
// become silent; a channel that comes too late is closed.
func Open(ctx context.Context, c ssh.Conn, w *Wire, name string) (ssh.Channel, <-chan *ssh.Request, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.NewTimer(opening)
	defer silent.Stop()
	result := make(chan opened)
	go func() {
		ch, reqs, err := c.OpenChannel(name, nil)
		select {
		case result <- opened{ch, reqs, err}:
		case <-ctx.Done():
			if err == nil {
				go ssh.DiscardRequests(reqs)
				ch.Close()
			}
		}
	}()
	for {
		select {
		case o := <-result:
			return o.ch, o.reqs, o.err
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-silent.C:
		}
		if quiet := w.quiet(); quiet < opening {
			silent.Reset(opening - quiet)
		} else {
			cancel(&SilentError{After: quiet})
		}
	}
}
