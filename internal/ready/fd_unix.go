//go:build unix

package ready

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenFD returns the descriptor fd, which whoever started us has opened for
// writing, as a file that children of ours do not inherit. The caller closes
// it. The error is a *FDError. The three standard streams are refused: they have
// their own use, and closing one would tear it.
func OpenFD(fd int) (*os.File, error) {
	if fd < 3 {
		return nil, &FDError{fd, "cannot be used: take 3 or a higher one"}
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	// What was handed down to us has no close-on-exec flag; those with one are
	// our own.
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return nil, &FDError{fd, fmt.Sprintf("is not open; a shell opens it with %d>FILE", fd)}
	}
	mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || mode&unix.O_ACCMODE == unix.O_RDONLY {
		return nil, &FDError{fd, "is not open for writing"}
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), fmt.Sprintf("descriptor %d", fd)), nil
}
