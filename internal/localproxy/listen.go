package localproxy

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"tshx/internal/conn"
)

// PortTakenError says that somebody else listens on the wanted address.
type PortTakenError struct {
	Addr string // host:port
	// Holder names who does, for people: "redis-server (pid 812)". Empty if
	// that is not known. Listen leaves it empty.
	Holder string
}

func (e *PortTakenError) Error() string {
	text := fmt.Sprintf("address %s is already in use", e.Addr)
	if e.Holder != "" {
		text += " by " + e.Holder
	}
	return text
}

// PortSquattedError says that another user listens on a port that clients may
// have stored, and would get what they send, passwords included.
type PortSquattedError struct {
	Addr   string // host:port
	Holder string // who listens there, for people
}

func (e *PortSquattedError) Error() string {
	return fmt.Sprintf("address %s, the usual one for this, is in use by %s", e.Addr, e.Holder)
}

// Hint says what is at risk and what to do.
func (e *PortSquattedError) Hint() string {
	return "clients that are set up for it would talk to that user; take another with --port, or other ports with --port-range"
}

// NotLoopbackError says that an address would let other machines in.
type NotLoopbackError struct {
	Addr string
}

func (e *NotLoopbackError) Error() string {
	return fmt.Sprintf("address %s can be reached from other machines", e.Addr)
}

// Listen opens a listener on addr: host:port for TCP, where port 0 picks a free
// one, or unix:PATH for a socket that only its owner may connect to. A host that
// is not a loopback address is refused unless anywhere is set: whoever reaches
// the listener acts as the user.
//
// The errors that a caller may want to tell apart are *PortTakenError,
// *NotLoopbackError, *SocketTakenError, *PathTooLongError and ErrNotSocket.
func Listen(addr string, anywhere bool) (net.Listener, error) {
	if path, ok := SocketPath(addr); ok {
		return listenSocket(path)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen address %q: want HOST:PORT or unix:PATH", addr)
	}
	if !anywhere && !loopback(host) {
		return nil, &NotLoopbackError{Addr: addr}
	}
	ln, err := net.Listen("tcp", addr)
	if conn.AddrInUse(err) {
		return nil, &PortTakenError{Addr: addr}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return ln, nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
