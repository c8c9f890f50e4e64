//go:build darwin || freebsd

package sockets

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Checks reports whether PeerUID can tell who connects to a listener at addr.
func Checks(addr net.Addr) bool { return addr.Network() == "unix" }

// PeerUID returns the effective user id of the process that connected c, as it
// was at the time of connect(2). This system tells it for unix sockets only;
// TCP connections get ErrUnknown.
func PeerUID(c net.Conn) (uid int, err error) {
	sc, ok := c.(syscall.Conn)
	if _, isUnix := c.RemoteAddr().(*net.UnixAddr); !isUnix || !ok {
		return 0, ErrUnknown
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Xucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	})
	if errors.Is(cerr, unix.ENOTCONN) {
		return 0, ErrGone
	}
	if err = errors.Join(err, cerr); err != nil {
		return 0, fmt.Errorf("LOCAL_PEERCRED: %w", err)
	}
	return int(cred.Uid), nil
}
