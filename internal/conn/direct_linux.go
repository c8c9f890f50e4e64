//go:build linux && !race

package conn

import (
	"syscall"
	"unsafe"
)

// directRead is read(2), and directWrite is write(2), of a socket that does not
// block, behind the back of the Go scheduler. Told of a system call after a
// pause, that wakes its monitor thread, which costs a message that comes alone
// more than the call. The price is that nothing else runs in the place of a
// goroutine meanwhile, and that the monitor may be asleep while goroutines run:
// see maxDirect.
//
// The race detector learns from the calls of package syscall what a message has
// put in order, so it gets those.
func directRead(fd uintptr, p []byte) (int, error) {
	return direct(syscall.SYS_READ, fd, p)
}

func directWrite(fd uintptr, p []byte) (int, error) {
	return direct(syscall.SYS_WRITE, fd, p)
}

func direct(call, fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
