package egress

import (
	"net"

	"golang.org/x/sys/windows"
)

// watch bounds for how long the system sends again what is not acknowledged: in
// milliseconds where it knows that option, else in seconds.
func watch(c *net.TCPConn) net.Conn {
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			h := windows.Handle(fd)
			if windows.SetsockoptInt(h, windows.IPPROTO_TCP, windows.TCP_MAXRTMS, int(StallTimeout.Milliseconds())) != nil {
				windows.SetsockoptInt(h, windows.IPPROTO_TCP, windows.TCP_MAXRT, seconds(StallTimeout))
			}
		})
	}
	return c
}
