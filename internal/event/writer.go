package event

import (
	"io"
	"sync"
	"time"
)

// Bounds of a Writer.
const (
	// QueueSize is how many lines may wait for the reader.
	QueueSize = 8192
	// Patience is how long all Emits together wait for a reader that has stopped
	// reading, and Close for what is still in the queue.
	Patience = 2 * time.Second
)

// batchSize bounds how many bytes are written at once.
const batchSize = 64 << 10

// Writer writes events as lines, one goroutine in the order of Emit. A nil
// Writer takes events and does nothing.
type Writer struct {
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Failed is called once when a write fails; no event is written after that.
	// Nil does nothing.
	Failed func(error)

	out    io.WriteCloser
	queue  chan []byte
	done   chan struct{} // closed when the goroutine has ended
	ending chan struct{} // closed by Close: no Emit waits any more
	close  func() error  // once

	turn    chan struct{} // holds one while somebody enqueues, so that the order is that of the times
	closed  bool
	stuck   bool // somebody has waited in vain, and the queue is not half empty yet
	dropped int64
}

// NewWriter returns a Writer to out. The caller ends it with Close, which closes
// out. Fields may be set until the first Emit.
func NewWriter(out io.WriteCloser) *Writer {
	w := &Writer{
		out: out, queue: make(chan []byte, QueueSize),
		done: make(chan struct{}), ending: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	w.close = sync.OnceValue(w.end)
	go w.run()
	return w
}

// Emit queues e. When the queue is full it waits for the reader, and others wait
// for their turn, all of them together up to Patience. Then events are dropped,
// without a wait and counted by a Dropped, until the reader has taken half the
// queue. It is safe for concurrent use.
func (w *Writer) Emit(e Event) {
	if w == nil {
		return
	}
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	if w.closed {
		return
	}
	w.stuck = w.stuck && len(w.queue) > QueueSize/2
	if w.stuck || w.dropped > 0 && !w.put(Dropped{Count: w.dropped}) {
		w.dropped++
		return
	}
	w.dropped = 0
	if !w.put(e) {
		w.dropped++
	}
}

// put queues one line and reports whether it could.
func (w *Writer) put(e Event) bool {
	line, err := encode(e, w.now())
	if err != nil {
		return false // no event has a value that JSON has not
	}
	select {
	case w.queue <- line:
		return true
	default:
	}
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case w.queue <- line:
		return true
	case <-timer.C:
	case <-w.ending:
	}
	w.stuck = true
	return false
}

// Close writes what is queued, for up to Patience, and closes the output.
// Events after it are dropped. It may be called more than once.
func (w *Writer) Close() error {
	if w == nil {
		return nil
	}
	return w.close()
}

// end does the work of Close.
func (w *Writer) end() error {
	close(w.ending)
	w.turn <- struct{}{}
	if w.dropped > 0 && len(w.queue) < QueueSize {
		w.put(Dropped{Count: w.dropped})
	}
	w.closed = true
	close(w.queue)
	<-w.turn
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	}
	return w.out.Close()
}

// run writes the queue, as many lines at once as there are.
func (w *Writer) run() {
	defer close(w.done)
	var failed bool
	batch := make([]byte, 0, 4096)
	for line := range w.queue {
		batch = append(batch[:0], line...)
	more:
		for len(batch) < batchSize {
			select {
			case line, ok := <-w.queue:
				if !ok {
					break more
				}
				batch = append(batch, line...)
			default:
				break more
			}
		}
		if failed {
			continue
		}
		if _, err := w.out.Write(batch); err != nil {
			failed = true
			if w.Failed != nil {
				w.Failed(err)
			}
		}
	}
}

func (w *Writer) now() time.Time {
	if w.Now != nil {
		return w.Now()
	}
	return time.Now()
}
