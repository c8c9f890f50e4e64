package child

import (
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A parent that is killed leaves nothing behind.
func TestKilledParentLeavesNothing(t *testing.T) {
	s := enter(t, false, "tell")
	fd, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	s.parent.Process.Kill()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 60_000)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("the program is still there: %v", err)
		}
		return
	}
}
