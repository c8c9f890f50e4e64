//go:build unix && !linux

package localproxy

import (
	"net"
	"syscall"
)

// bindPrivate binds a socket of mode 0600. The umask is the process's: files
// that others of its goroutines make at that moment get the tighter mode too.
func bindPrivate(path string) (*net.UnixListener, error) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
}
