//go:build !unix

package ready

import "os"

// OpenFD always fails: descriptors are not handed down here by number.
func OpenFD(fd int) (*os.File, error) {
	return nil, &FDError{fd, "cannot be used on this system; use a file"}
}
