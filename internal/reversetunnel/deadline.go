package reversetunnel

import (
	"net"
	"os"
	"sync"
	"time"
)

// timedSize is how much a Read with deadlines takes at once, in bytes.
const timedSize = 32 << 10

// timedReader gives deadlines to a reader that has none. Without deadlines, it
// reads straight on. From the first one on a goroutine reads, one Read at a time,
// whose bytes are kept for the next Read where they come too late.
type timedReader struct {
	raw func([]byte) (int, error)

	mu      sync.Mutex
	timed   bool
	until   time.Time
	changed chan struct{} // closed when until changes
	pending chan struct{} // closed when the read under way is done; nil if none is
	buf     []byte        // of that read
	left    []byte        // what it got
	err     error
	closed  bool
}

func (r *timedReader) bound(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timed, r.until = true, t
	r.wake()
}

func (r *timedReader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.wake()
}

func (r *timedReader) wake() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// Read may be called by one goroutine at a time.
func (r *timedReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	if !r.timed {
		r.mu.Unlock()
		return r.raw(p)
	}
	defer r.mu.Unlock()
	for {
		switch {
		case len(r.left) > 0:
			n := copy(p, r.left)
			r.left = r.left[n:]
			return n, nil
		case r.err != nil:
			return 0, r.err
		case r.closed:
			return 0, net.ErrClosed
		case !r.until.IsZero() && !time.Now().Before(r.until):
			return 0, os.ErrDeadlineExceeded
		}
		r.wait()
	}
}

// wait starts a read where none is under way, and returns when something has
// changed. It gives up the lock in between.
func (r *timedReader) wait() {
	if r.pending == nil {
		r.pending = make(chan struct{})
		go r.fill(r.pending)
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	pending, changed, until := r.pending, r.changed, r.until
	r.mu.Unlock()
	defer r.mu.Lock()
	var late <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-pending:
	case <-changed:
	case <-late:
	}
}

func (r *timedReader) fill(done chan struct{}) {
	if r.buf == nil {
		r.buf = make([]byte, timedSize)
	}
	n, err := r.raw(r.buf)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left, r.err, r.pending = r.buf[:n], err, nil
	close(done)
}
