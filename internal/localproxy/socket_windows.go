package localproxy

import "net"

// bindPrivate binds a socket. Who may connect is decided by the rights that the
// directory hands down: Windows knows no mode.
func bindPrivate(path string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
}
