//go:build !linux && !darwin && !freebsd

package sockets

import "net"

// PeerUID is not known on this system: it returns ErrUnknown.
func PeerUID(net.Conn) (uid int, err error) { return 0, ErrUnknown }
