//go:build unix

package main

import (
	"context"

	"golang.org/x/sys/unix"
)

// onPoll calls f when poll(2) reports something about fd: the events asked for,
// an error or a hang-up. It blocks one goroutine until then, or until the
// process ends, and calls done at its end.
func onPoll(ctx context.Context, fd int, events int16, f, done func()) {
	go func() {
		defer done()
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		for ctx.Err() == nil {
			n, err := unix.Poll(fds, -1)
			if err == unix.EINTR {
				continue
			}
			if err == nil && n > 0 {
				f()
			}
			return
		}
	}()
}
