package localproxy

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindPrivate binds a socket of mode 0600. Linux gives the file the mode that
// the unbound socket has, less the umask, so that it never has another one.
func bindPrivate(path string) (*net.UnixListener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	return ln.(*net.UnixListener), nil
}
