package httproute

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerEnded reports whether the end of a connection has arrived, also where
// nobody has read it yet. It looks at the socket that c stands on.
func peerEnded(c net.Conn) bool {
	for {
		above, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = above.NetConn()
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	ended := false
	raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		ended = err == nil && info.State != unix.BPF_TCP_ESTABLISHED
	})
	return ended
}
