//go:build unix && !aix && !solaris

package localproxy

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// pathLock is a file with a lock that the kernel takes back when we end, however
// we end. The file that a killed process leaves locks nobody out.
type pathLock struct {
	file *os.File
}

// lockPath makes the file at path and locks it. The error is errLocked if
// another process has. The caller ends it with release.
func lockPath(path string) (*pathLock, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		same, err := lockFile(file)
		if err != nil {
			file.Close()
			return nil, err
		}
		if same {
			return &pathLock{file}, nil
		}
		file.Close() // it was removed before we had its lock: that is worth nothing
	}
}

// lockFile locks file and reports whether it is still the one at its path. A
// file that is open keeps its inode, so that no other can be taken for it.
func lockFile(file *os.File) (same bool, err error) {
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, errLocked
	case err != nil:
		return false, &fs.PathError{Op: "lock", Path: file.Name(), Err: err}
	}
	ours, err := file.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(ours, there), err
}

// release removes the file and ends the lock, in this order: whoever has opened
// the file meanwhile finds out that it is no longer at its path.
func (l *pathLock) release() {
	os.Remove(l.file.Name())
	l.file.Close()
}
