package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watchParent calls gone when the process that started this one has ended. It
// waits on a pidfd (pidfd_open(2)), which unlike PR_SET_PDEATHSIG looks at the
// process and not at the thread that forked.
func watchParent(ctx context.Context, gone func()) error {
	ppid := os.Getppid()
	fd, err := unix.PidfdOpen(ppid, 0)
	if errors.Is(err, unix.ESRCH) || (err == nil && os.Getppid() != ppid) {
		gone()
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch the parent process: %w", err)
	}
	onPoll(ctx, fd, unix.POLLIN, gone, func() { unix.Close(fd) })
	return nil
}
