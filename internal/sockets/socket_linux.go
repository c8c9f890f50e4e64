package sockets

import "net/netip"

// States of a TCP socket (Linux, include/net/tcp_states.h).
const (
	stateEstablished = 1
	stateFinWait1    = 4
	stateFinWait2    = 5
	stateCloseWait   = 8
	stateLastAck     = 9
	stateListen      = 10
	stateClosing     = 11
)

// socket is an entry of the kernel's table.
type socket struct {
	local, remote netip.AddrPort // never IPv4-mapped, without a zone
	state         uint8
	uid           int
	inode         uint64 // 0: no process holds it
}

// held reports whether s is the connected socket of a process. Others have the
// user id 0 that they are not to be taken for: what is left of a closed one
// (FIN-WAIT, TIME-WAIT), and a listener that the kernel offers where there is
// no connection. One that is still connecting is a later one with the same
// addresses.
func (s socket) held() bool {
	switch s.state {
	case stateEstablished, stateFinWait1, stateFinWait2, stateCloseWait, stateLastAck, stateClosing:
		return s.inode != 0
	}
	return false
}

func (s socket) flow() flow { return flow{s.local, s.remote} }
