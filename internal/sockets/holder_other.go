//go:build !linux

package sockets

import "net"

// Holder is not known on this system: it returns false.
func Holder(*net.TCPAddr) (Process, bool) { return Process{}, false }
