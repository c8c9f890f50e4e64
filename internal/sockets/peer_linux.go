package sockets

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Checks reports whether PeerUID can tell who connects to a listener at addr.
func Checks(addr net.Addr) bool {
	return addr.Network() == "unix" || strings.HasPrefix(addr.Network(), "tcp")
}

// PeerUID returns the effective user id of the process that connected c, which
// is a TCP or a unix connection. On a unix socket it is the user at the time of
// connect(2). On TCP it is the user that made the socket, whoever holds it now;
// a socket that nobody holds any more counts for nobody (ErrGone), because the
// kernel gives user 0 for it.
//
// In a user namespace the users that it does not know all appear as one, the
// overflow user (65534 as a rule; user_namespaces(7)).
func PeerUID(c net.Conn) (uid int, err error) {
	switch remote := c.RemoteAddr().(type) {
	case *net.TCPAddr:
		local, ok := c.LocalAddr().(*net.TCPAddr)
		if !ok {
			break
		}
		return tcpUID(flow{local: addrPort(remote), remote: addrPort(local)})
	case *net.UnixAddr:
		if sc, ok := c.(syscall.Conn); ok {
			return unixUID(sc)
		}
	}
	return 0, fmt.Errorf("user of a %T: %w", c, errors.ErrUnsupported)
}

func addrPort(a *net.TCPAddr) netip.AddrPort {
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func unixUID(c syscall.Conn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, cerr); err != nil {
		return 0, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	return int(cred.Uid), nil
}

// flow names one TCP socket by both of its addresses, which are never
// IPv4-mapped.
type flow struct{ local, remote netip.AddrPort }

func (f flow) reverse() flow { return flow{f.remote, f.local} }

// table is one way to look into the kernel's table of TCP sockets.
type table interface {
	// find returns the socket of f. Not found is no error.
	find(f flow) (s socket, found bool, err error)
}

// tables are tried in this order. The second one takes the longer the more
// sockets there are.
var tables = []table{sockDiag{}, procNet(procFiles)}

// tcpUID looks the peer's socket up.
func tcpUID(peer flow) (int, error) {
	var refused error // by all tables so far
	for _, t := range tables {
		s, found, err := t.find(peer)
		switch {
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			return 0, err // there is none left for the next table either
		case err != nil && refused != nil:
			refused = fmt.Errorf("%w; %w", refused, err)
			continue
		case err != nil:
			refused = err
			continue
		case found && s.held():
			return s.uid, nil
		case found, shows(t, peer.reverse()):
			return 0, missing(peer)
		}
		refused = nil
	}
	if refused != nil {
		return 0, refused
	}
	// Not even our own end is there: it was reset.
	return 0, missing(peer)
}

// answered notes that the kernel has a table, once it has shown a socket.
var answered atomic.Bool

// shows reports whether t knows sockets at all, by our own end of the
// connection: a kernel without a table says "not found" as well.
func shows(t table, own flow) bool {
	if _, fast := t.(sockDiag); fast && answered.Load() {
		return true
	}
	_, found, err := t.find(own)
	return err == nil && found
}

// missing says why there is no socket of the peer.
func missing(peer flow) error {
	ip := peer.local.Addr()
	if ip.IsLoopback() || ip == peer.remote.Addr() {
		return ErrGone
	}
	ours, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("addresses of this machine: %w", err)
	}
	if slices.ContainsFunc(ours, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip.AsSlice())
	}) {
		return ErrGone
	}
	return ErrRemote
}
