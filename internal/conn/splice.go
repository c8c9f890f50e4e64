package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrLinger ends a half-closed connection of which the other direction moved
// no byte for Linger.
var ErrLinger = errors.New("half-closed and idle for too long")

// SideError says which side of a spliced connection failed.
type SideError struct {
	Remote bool   // the proxy's side, not the client's
	Op     string // "read from", "write to" or "half-close"
	Err    error
}

func (e *SideError) Error() string {
	side := "client"
	if e.Remote {
		side = "proxy"
	}
	return fmt.Sprintf("%s the %s: %v", e.Op, side, e.Err)
}

func (e *SideError) Unwrap() error { return e.Err }

// Splice copies between local and remote until both directions have ended, and
// closes both connections before it returns.
//
// End of stream on one side becomes a half-close on the other; the opposite
// direction goes on for as long as bytes flow (see Linger). A read error on one
// side aborts the other, so that a broken stream never looks complete. A failed
// write ends only its own direction: why a side stopped reading may still be on
// its way. Ending ctx aborts both at once.
//
// The error is nil when both directions ended in order, the context's cause
// when ctx ended, ErrLinger, and otherwise a *SideError.
func Splice(ctx context.Context, local, remote net.Conn) (Stats, error) {
	return SpliceWith(ctx, local, remote, Options{})
}

// Options change what SpliceWith does. The zero value is Splice.
type Options struct {
	// Unanswered is called when the remote side has ended or broken before it
	// sent one byte and before the client ended its own side: the place to tell the client why, in its own protocol.
	// local is still open and replays what the client had sent, up to
	// replaySize bytes of it; what came after these and was read is lost, and
	// then it reads on from the client. The remote side is closed by then, and
	// local when Unanswered returns or ctx ends. It is not called when ctx has
	// ended, the client's connection has failed first or has no deadlines, or
	// the linger is over. Nil leaves local to end as the remote side did.
	Unanswered func(local net.Conn)
}

// SpliceWith is Splice with options. What it returns does not depend on them.
func SpliceWith(ctx context.Context, local, remote net.Conn, o Options) (Stats, error) {
	s := &splicer{local: local, remote: remote, linger: Linger}
	if o.Unanswered != nil {
		s.replay = &replay{}
	}
	st, err := s.run(ctx)
	if s.unanswered.Load() {
		s.replay.give(ctx, local, o.Unanswered)
	}
	return st, err
}

type splicer struct {
	local, remote net.Conn
	linger        time.Duration
	replay        *replay     // nil without Options.Unanswered
	unanswered    atomic.Bool // the remote side has gone without a word; local is not to be closed

	first     atomic.Pointer[net.Conn] // whose stream ended first
	lingering atomic.Bool
	moved     atomic.Int64 // UnixNano of the last byte, kept while lingering
	writing   atomic.Int32 // writes under way
	timer     *time.Timer

	fail sync.Once
	err  error
	// unwritten is the failed write of a direction whose opposite still runs.
	unwritten atomic.Pointer[SideError]
}

func (s *splicer) run(ctx context.Context) (Stats, error) {
	start := time.Now()
	changed()
	defer changed()
	stop := context.AfterFunc(ctx, func() { s.abort(context.Cause(ctx)) })
	defer stop()
	// Started in the far future so that Stop and Reset need no lock.
	s.timer = time.AfterFunc(1<<62, s.lingerDone)
	defer s.timer.Stop()

	var st Stats
	var wg sync.WaitGroup
	wg.Go(func() { st.Sent = s.half(s.remote, s.local) })
	st.Received = s.half(s.local, s.remote)
	wg.Wait()
	s.fail.Do(func() { // from here on no abort changes the outcome
		if e := s.unwritten.Load(); e != nil {
			s.err = e
		}
	})
	if !s.unanswered.Load() {
		s.local.Close()
	}
	s.remote.Close()
	st.Duration = time.Since(start)
	st.RemoteFirst = *s.first.Load() == s.remote
	return st, s.err
}

// half copies one direction and ends it.
func (s *splicer) half(dst, src net.Conn) int64 {
	n, rerr, werr := pump(watched{dst, Writer(dst), s}, src)
	ended := src
	if werr != nil { // what src has to say is not over
		ended = dst
	}
	s.first.CompareAndSwap(nil, &ended)
	if s.replay != nil && src == s.remote && *s.first.Load() == src && n == 0 && werr == nil {
		s.unanswer(rerr)
	}
	if s.unanswered.Load() {
		return n
	}
	switch {
	case werr != nil:
		s.unwritten.CompareAndSwap(nil, &SideError{dst == s.remote, "write to", werr})
	case rerr != io.EOF:
		s.abort(&SideError{src == s.remote, "read from", rerr})
	default:
		s.idle() // bounds the half-close, too
		s.writing.Add(1)
		err := CloseWrite(dst)
		s.moved.Store(time.Now().UnixNano())
		s.writing.Add(-1)
		if err != nil && !Orderly(err) && !PeerGone(err) {
			s.abort(&SideError{dst == s.remote, "half-close", err})
		}
	}
	s.idle()
	return n
}

// idle starts the linger anew.
func (s *splicer) idle() {
	s.moved.Store(time.Now().UnixNano())
	s.lingering.Store(true)
	s.timer.Reset(s.linger)
}

// watched notes for the linger that bytes move, or wait for a slow reader, and
// what there is to replay.
type watched struct {
	net.Conn
	out io.Writer
	s   *splicer
}

func (w watched) Write(p []byte) (int, error) {
	w.s.writing.Add(1)
	if r := w.s.replay; r != nil {
		if w.Conn == w.s.remote {
			r.keep(p)
		} else {
			r.drop()
		}
	}
	n, err := w.out.Write(p)
	if w.s.lingering.Load() {
		w.s.moved.Store(time.Now().UnixNano())
	}
	w.s.writing.Add(-1) // last: lingerDone must not see a long wait without its end
	return n, err
}

// lingerDone ends an idle half-closed connection. A reader that is slow is given
// lingerSlow times as long as a silent sender.
func (s *splicer) lingerDone() {
	limit := s.linger
	if s.writing.Load() > 0 {
		limit *= lingerSlow
	}
	idle := time.Since(time.Unix(0, s.moved.Load()))
	if idle < limit {
		s.timer.Reset(min(limit-idle, s.linger))
		return
	}
	s.abort(ErrLinger)
}

// abort records the first cause and breaks both connections.
func (s *splicer) abort(err error) {
	s.fail.Do(func() {
		s.err = err
		Abort(s.local)
		Abort(s.remote)
	})
}

// Abort closes a connection in such a way that the peer can tell it from an
// orderly end: TLS without close_notify, TCP with a reset. Bytes that the
// kernel has not sent yet are dropped.
func Abort(c net.Conn) error {
	switch c := c.(type) {
	case *net.TCPConn:
		c.SetLinger(0) // if refused, the close below is merely orderly
		return c.Close()
	case interface{ NetConn() net.Conn }:
		return Abort(c.NetConn())
	}
	return c.Close()
}

// pump copies until an error and reports on which side it happened. A read
// that ends the stream is rerr == io.EOF.
func pump(dst io.Writer, src io.Reader) (n int64, rerr, werr error) {
	from := newSource(src)
	for {
		buf, nr, err := from.next()
		if nr > 0 {
			var nw int
			nw, werr = dst.Write((*buf)[:nr])
			n += int64(nw)
		}
		if buf != nil {
			buffers.Put(buf)
		}
		switch {
		case werr != nil:
			return n, nil, werr
		case err != nil:
			return n, err, nil
		}
	}
}
