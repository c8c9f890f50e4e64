package egress

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tshx/internal/conn"
)

// Bounds of what counts as lost: how often the kernel has sent again what is
// under way, and how often it has asked a full receiver for room (a count that
// starts anew with each answer).
const (
	lostRetransmits = 2
	lostProbes      = 3
)

// watch returns c with a StallError where the kernel would wait for minutes.
func watch(c *net.TCPConn) net.Conn {
	raw, err := c.SyscallConn()
	if err != nil {
		return c
	}
	return &watched{Conn: c, out: conn.Writer(c), look: func() (flight, error) { return lookAt(raw) }}
}

func lookAt(raw syscall.RawConn) (flight, error) {
	var info *unix.TCPInfo
	var err error
	if cerr := raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); cerr != nil {
		return flight{}, cerr
	}
	if err != nil {
		return flight{}, err
	}
	return flight{
		outstanding: info.Unacked > 0 || info.Notsent_bytes > 0,
		heard:       time.Duration(info.Last_ack_recv) * time.Millisecond,
		// A receiver without room acknowledges what is sent again; its silence in
		// between is no loss. The kernel does not count that as retransmits.
		lost: info.Retransmits >= lostRetransmits || info.Probes >= lostProbes,
	}, nil
}
