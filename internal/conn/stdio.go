package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// ErrReaderGone says that nobody reads our output any more.
var ErrReaderGone = errors.New("the reader of standard output is gone")

// Stdio joins a process's standard input and output to remote and returns when
// the remote side ends: then nothing can follow on out, and what is left in in
// has nowhere to go. End of in only half-closes remote, so that a reply still
// under way arrives; an error of in ends remote.
//
// A read of in, and after ctx has ended a write of out, may stay blocked after
// the return; nothing but the end of the process interrupts those of standard
// input and output. Stdio closes remote before it returns. Ending ctx closes
// remote at once.
//
// The error is nil after an orderly end, the context's cause when ctx ended,
// and wraps ErrReaderGone when out was closed at its other end.
func Stdio(ctx context.Context, in io.Reader, out io.Writer, remote Stream) (Stats, error) {
	start := time.Now()
	var sent, received atomic.Int64
	broken := make(chan error, 1)
	go func() {
		// A write error on the way to remote ends remote, and shows below.
		_, rerr, _ := pump(countWriter{remote, &sent}, in)
		if rerr != nil && rerr != io.EOF {
			broken <- fmt.Errorf("read standard input: %w", rerr)
			remote.Close()
			return
		}
		remote.CloseWrite()
	}()
	done := make(chan error, 1)
	go func() { done <- deliver(countWriter{out, &received}, remote) }()

	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	remote.Close()
	select {
	case err = <-broken:
	default:
	}
	return Stats{Sent: sent.Load(), Received: received.Load(), Duration: time.Since(start)}, err
}

func deliver(out io.Writer, remote io.Reader) error {
	_, rerr, werr := pump(out, remote)
	switch {
	case werr != nil && PeerGone(werr):
		return fmt.Errorf("%w: %w", ErrReaderGone, werr)
	case werr != nil:
		return fmt.Errorf("write standard output: %w", werr)
	case !Orderly(rerr):
		return fmt.Errorf("read from the proxy: %w", rerr)
	}
	return nil
}

type countWriter struct {
	io.Writer
	n *atomic.Int64
}

func (w countWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.n.Add(int64(n))
	return n, err
}
