//go:build !windows

package conn

import "syscall"

var (
	peerGone  = []syscall.Errno{syscall.ECONNRESET, syscall.EPIPE, syscall.ENOTCONN}
	addrInUse = []syscall.Errno{syscall.EADDRINUSE}
	refused   = []syscall.Errno{syscall.ECONNREFUSED}
)
