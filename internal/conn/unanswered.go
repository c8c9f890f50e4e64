package conn

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// replaySize is how much of what a client sent is kept for
// Options.Unanswered, in bytes. It holds the first message of every database
// protocol.
const replaySize = 4 << 10

// replay keeps what a client has sent until the first byte of an answer.
type replay struct {
	answered atomic.Bool

	mu   sync.Mutex
	head []byte
}

func (r *replay) keep(p []byte) {
	if r.answered.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.answered.Load() {
		r.head = append(r.head, p[:min(len(p), replaySize-len(r.head))]...)
	}
}

// drop forgets what was kept, because an answer has come.
func (r *replay) drop() {
	if r.answered.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answered.Store(true)
	r.head = nil
}

// give calls f with the client's connection, which the end of ctx breaks, and
// closes it.
func (r *replay) give(ctx context.Context, local net.Conn, f func(net.Conn)) {
	defer local.Close()
	stop := context.AfterFunc(ctx, func() { Abort(local) })
	defer stop()
	if local.SetReadDeadline(time.Time{}) == nil {
		f(Buffered(local, r.head))
	}
}

// unanswer handles a remote side whose stream has ended with err (io.EOF or a
// failure) before it sent one byte: it closes that side and wakes the direction
// from the client, which leaves the client's connection open. It does nothing
// when something else has ended the splice before, or when local cannot be
// woken.
func (s *splicer) unanswer(err error) {
	if s.local.SetReadDeadline(time.Time{}) != nil {
		return
	}
	s.fail.Do(func() {
		s.unanswered.Store(true)
		if err == io.EOF {
			if e := s.unwritten.Load(); e != nil {
				s.err = e
			}
			s.remote.Close()
		} else {
			s.err = &SideError{true, "read from", err}
			Abort(s.remote)
		}
		s.local.SetReadDeadline(time.Unix(1, 0)) // long past
	})
}
