package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// sockDiag asks for one socket by its addresses (sock_diag(7)): the kernel
// answers from its hash table, however many sockets there are. A netlink socket
// of its own for each question costs little and needs no lock.
type sockDiag struct{}

// Sizes of the structs on the wire (Linux, include/uapi/linux/netlink.h and
// inet_diag.h), and where the addresses, a struct inet_diag_sockid, are.
const (
	sizeHeader  = 16 // nlmsghdr
	sizeRequest = sizeHeader + 56
	sizeReply   = sizeHeader + 72
	requestID   = sizeHeader + 8
	replyID     = sizeHeader + 4
)

func (sockDiag) find(f flow) (socket, bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return socket{}, false, os.NewSyscallError("netlink socket", err)
	}
	defer unix.Close(fd)
	return ask(fd, f)
}

// ask sends the request and reads the answer, which is there when write(2)
// returns.
func ask(fd int, f flow) (socket, bool, error) {
	request := diagRequest(f)
	if _, err := unix.Write(fd, request[:]); err != nil {
		return socket{}, false, os.NewSyscallError("netlink write", err)
	}
	var reply [512]byte // the attributes after the part that counts may be cut off
	n, err := unix.Read(fd, reply[:])
	if err != nil {
		return socket{}, false, os.NewSyscallError("netlink read", err)
	}
	s, found, err := parseDiag(reply[:n])
	if err != nil {
		return socket{}, false, err
	}
	if found {
		answered.Store(true)
	}
	// For want of a connection the kernel looks for a listener.
	return s, found && s.flow() == f.withoutZone(), nil
}

func (f flow) withoutZone() flow {
	return flow{
		netip.AddrPortFrom(f.local.Addr().WithZone(""), f.local.Port()),
		netip.AddrPortFrom(f.remote.Addr().WithZone(""), f.remote.Port()),
	}
}

// diagRequest is a struct inet_diag_req_v2 for exactly one socket.
func diagRequest(f flow) (b [sizeRequest]byte) {
	binary.NativeEndian.PutUint32(b[0:], sizeRequest)
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	b[sizeHeader] = unix.AF_INET
	if f.local.Addr().Is6() {
		b[sizeHeader] = unix.AF_INET6
	}
	b[sizeHeader+1] = unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[sizeHeader+4:], ^uint32(0)) // any state
	id := b[requestID:]
	binary.BigEndian.PutUint16(id[0:], f.local.Port())
	binary.BigEndian.PutUint16(id[2:], f.remote.Port())
	copy(id[4:20], f.local.Addr().AsSlice())
	copy(id[20:36], f.remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(id[36:], scope(f.local.Addr().Zone()))
	for i := 40; i < 48; i++ {
		id[i] = 0xff // INET_DIAG_NOCOOKIE: whichever it is
	}
	return b
}

// scope is the number of the interface that a link-local address belongs to, 0
// for other addresses.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}

// errReply says that the kernel's answer is not of the form that is known.
var errReply = errors.New("unknown answer of sock_diag")

// parseDiag reads an answer. "No such socket" is not found; a kernel without
// the table says the same.
func parseDiag(b []byte) (s socket, found bool, err error) {
	if len(b) < sizeHeader+4 {
		return s, false, errReply
	}
	switch kind := binary.NativeEndian.Uint16(b[4:]); {
	case kind == unix.NLMSG_ERROR:
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[sizeHeader:])))
		if errno == unix.ENOENT {
			return s, false, nil
		}
		return s, false, fmt.Errorf("sock_diag: %w", errno)
	case kind != unix.SOCK_DIAG_BY_FAMILY, len(b) < sizeReply:
		return s, false, errReply
	}
	size := 4
	if b[sizeHeader] == unix.AF_INET6 {
		size = 16
	}
	id := b[replyID:]
	local, _ := netip.AddrFromSlice(id[4 : 4+size])
	remote, _ := netip.AddrFromSlice(id[20 : 20+size])
	return socket{
		local:  netip.AddrPortFrom(local.Unmap(), binary.BigEndian.Uint16(id[0:])),
		remote: netip.AddrPortFrom(remote.Unmap(), binary.BigEndian.Uint16(id[2:])),
		state:  b[sizeHeader+1],
		uid:    int(binary.NativeEndian.Uint32(b[sizeReply-8:])),
		inode:  uint64(binary.NativeEndian.Uint32(b[sizeReply-4:])),
	}, true, nil
}
