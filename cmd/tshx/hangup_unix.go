//go:build unix

package main

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// watchHangup calls gone when the other end of out, a pipe or a socket, has
// been closed. Without it, a process whose parent was killed would stay for as
// long as the far side is silent. It does nothing for other kinds of output,
// which have no other end.
//
// The wait is a poll(2) for POLLHUP, which is reported unasked with POLLERR, but
// macOS looks at nothing if nothing is asked for.
func watchHangup(ctx context.Context, out io.Writer, gone func()) {
	f, ok := out.(*os.File)
	if !ok {
		return
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return
	}
	onPoll(ctx, int(f.Fd()), unix.POLLHUP, gone, func() {})
}
