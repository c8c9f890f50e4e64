package localproxy

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"tshx/internal/conn"
)

// maxSocketPath is the length of the longest path that a socket can have, a
// zero byte at its end included.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path)

// ErrNotSocket refuses a path where there is a file of another kind, which is
// not ours to remove.
var ErrNotSocket = errors.New("there is a file that is not a socket")

// SocketTakenError says that somebody else serves the socket.
type SocketTakenError struct {
	Path string
}

func (e *SocketTakenError) Error() string { return fmt.Sprintf("socket %s is already in use", e.Path) }

// Hint says what to do.
func (e *SocketTakenError) Hint() string { return "choose another path with --listen unix:PATH" }

// PathTooLongError says that the system's socket addresses do not hold a path.
type PathTooLongError struct {
	Path string
}

func (e *PathTooLongError) Error() string {
	return fmt.Sprintf("socket path of %d bytes is too long, the system takes %d: %s", len(e.Path), maxSocketPath-1, e.Path)
}

// SocketPath returns PATH of an address unix:PATH.
func SocketPath(addr string) (path string, ok bool) { return strings.CutPrefix(addr, "unix:") }

// lockSuffix makes the name of the file whose lock says who has a socket's
// path. It is not just .lock, which PostgreSQL servers use.
const lockSuffix = ".tshx-lock"

// listenSocket listens on a socket that its owner alone may connect to (where
// the system asks, as Linux and macOS do). A socket that nobody serves any more
// is taken over, by one process only: it holds the lock of the path from before
// it looks until the listener's Close, which removes the socket and the lock's
// file.
func listenSocket(path string) (net.Listener, error) {
	if path == "" {
		return nil, errors.New("listen address unix: has no path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if len(path) >= maxSocketPath {
		return nil, &PathTooLongError{Path: path}
	}
	lock, err := lockPath(path + lockSuffix)
	if errors.Is(err, errLocked) || errors.Is(err, fs.ErrPermission) && isSocket(path) { // another user's
		return nil, &SocketTakenError{Path: path}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	ln, err := listenLocked(path, lock)
	if err != nil {
		lock.release()
		return nil, err
	}
	return ln, nil
}

// listenLocked is listenSocket for whoever holds the lock, which is the
// listener's when there is no error.
func listenLocked(path string, lock *pathLock) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := bindPrivate(path)
	if conn.AddrInUse(err) { // somebody who asks for no lock was faster
		return nil, &SocketTakenError{Path: path}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	info, err := os.Lstat(path)
	if err != nil {
		ln.Close()
		return nil, fmt.Errorf("listen on unix:%s: %w", path, err)
	}
	return &socketListener{UnixListener: ln, path: path, info: info, lock: lock}, nil
}

func isSocket(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() == fs.ModeSocket
}

// errLocked says that another process has the lock of a path.
var errLocked = errors.New("locked by another process")

// removeStale removes a socket that nobody serves.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("listen on unix:%s: %w", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("listen on unix:%s: %w", path, ErrNotSocket)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !conn.Refused(err) { // also one that we may not even try
		return &SocketTakenError{Path: path}
	}
	if err := removeSame(path, info); err != nil {
		return fmt.Errorf("remove the socket of a process that has ended: %w", err)
	}
	return nil
}

// removeSame removes the file at path unless it is another one by now.
func removeSame(path string, info fs.FileInfo) error {
	now, err := os.Lstat(path)
	if err == nil && os.SameFile(now, info) {
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// socketListener removes its socket when it is closed, and no other that has
// taken the place.
type socketListener struct {
	*net.UnixListener
	path string
	info fs.FileInfo
	lock *pathLock
	once sync.Once
}

func (l *socketListener) Close() error {
	l.once.Do(func() {
		removeSame(l.path, l.info) // what is left is found stale by the next one
		l.lock.release()
	})
	return l.UnixListener.Close()
}
