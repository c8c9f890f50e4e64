package conn

import "golang.org/x/sys/windows"

// The constants of package syscall with the same names are inventions that no
// call returns.
var (
	peerGone  = []windows.Errno{windows.WSAECONNABORTED, windows.WSAECONNRESET, windows.WSAENOTCONN, windows.WSAESHUTDOWN, windows.ERROR_BROKEN_PIPE, windows.ERROR_NO_DATA}
	addrInUse = []windows.Errno{windows.WSAEADDRINUSE, windows.WSAEACCES}
	refused   = []windows.Errno{windows.WSAECONNREFUSED}
)
