package conn

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Stdio joins a process's standard input and output to remote and returns when
// the remote side ends: then nothing can follow on out, and what is left in in
// has nowhere to go. End of in only half-closes remote, so that a reply still
// under way arrives.
//
// A read of in may stay blocked after the return; nothing but the end of the
// process interrupts a read of standard input. Stdio closes remote before it
// returns. Ending ctx closes remote at once.
//
// The error is nil after an orderly end, and the context's cause when ctx
// ended.
func Stdio(ctx context.Context, in io.Reader, out io.Writer, remote Stream) (Stats, error) {
	start := time.Now()
	stop := context.AfterFunc(ctx, func() { remote.Close() })
	defer stop()

	var sent atomic.Int64
	go func() {
		// An error on the way to remote ends remote, and shows below.
		pump(countWriter{remote, &sent}, in, nil)
		remote.CloseWrite()
	}()
	n, rerr, werr := pump(out, remote, nil)
	remote.Close()
	st := Stats{Sent: sent.Load(), Received: n, Duration: time.Since(start)}
	switch {
	case ctx.Err() != nil:
		return st, context.Cause(ctx)
	case werr != nil:
		return st, fmt.Errorf("write standard output: %w", werr)
	case !Orderly(rerr):
		return st, fmt.Errorf("read from the proxy: %w", rerr)
	}
	return st, nil
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
