//go:build unix && !aix && !solaris

package dbproxy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// keepOwner gives f, the successor of the file at path, the owner of that file,
// or of its directory where there is none. Only root can, and needs to: for a
// user by sudo.
func keepOwner(f *os.File, path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		st, err = os.Stat(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// lockDir waits until no other tshx edits a client's file in dir, and keeps
// others waiting until unlock. The lock is on the directory, so that no file of
// ours stays there. Where it cannot be had, it goes without.
func lockDir(dir string) (unlock func()) {
	d, err := os.Open(dir)
	if err != nil {
		return func() {}
	}
	for errors.Is(unix.Flock(int(d.Fd()), unix.LOCK_EX), unix.EINTR) {
	}
	return func() { d.Close() }
}
