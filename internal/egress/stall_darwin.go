package egress

import (
	"net"

	"golang.org/x/sys/unix"
)

// watch bounds for how long the kernel sends again what is not acknowledged; the
// option counts in whole seconds. Kernels without it keep their own bound.
func watch(c *net.TCPConn) net.Conn {
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RXT_CONNDROPTIME, seconds(StallTimeout))
		})
	}
	return c
}
