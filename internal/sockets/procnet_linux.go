package sockets

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// procNet is the table as text (proc_pid_net(5)), read from the files with
// these names: tcp, and tcp6, which may be missing and has the IPv4 connections
// of IPv6 sockets as well.
type procNet []string

var procFiles = []string{"/proc/net/tcp", "/proc/net/tcp6"}

func (p procNet) find(f flow) (s socket, found bool, err error) {
	f = f.withoutZone()
	err = p.each(f.local.Port(), func(e socket) bool {
		if e.flow() == f {
			s, found = e, true
		}
		return !found
	})
	return s, found, err
}

// each calls yield for the sockets that have a port at either end, until it
// returns false.
func (p procNet) each(port uint16, yield func(socket) bool) error {
	for i, path := range p {
		file, err := os.Open(path)
		if i > 0 && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		more, err := scanProc(file, port, yield)
		file.Close()
		if !more || err != nil {
			return err
		}
	}
	return nil
}

// scanProc does for one file what each does, and returns what yield returned
// last. Lines that are no sockets are left out.
func scanProc(r io.Reader, port uint16, yield func(socket) bool) (more bool, err error) {
	end := fmt.Appendf(nil, ":%04X ", port) // of an address; most lines need no more of a look
	in := bufio.NewScanner(r)
	for in.Scan() {
		if !bytes.Contains(in.Bytes(), end) {
			continue
		}
		s, ok := parseProc(in.Text())
		if ok && (s.local.Port() == port || s.remote.Port() == port) && !yield(s) {
			return false, nil
		}
	}
	return true, in.Err()
}

// parseProc reads a line such as
//
//	0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 4242 1 ...
func parseProc(line string) (s socket, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 {
		return s, false
	}
	local, ok1 := parseProcAddr(fields[1])
	remote, ok2 := parseProcAddr(fields[2])
	state, err1 := strconv.ParseUint(fields[3], 16, 8)
	uid, err2 := strconv.ParseUint(fields[7], 10, 32)
	inode, err3 := strconv.ParseUint(fields[9], 10, 64)
	if !ok1 || !ok2 || errors.Join(err1, err2, err3) != nil {
		return s, false
	}
	return socket{local: local, remote: remote, state: uint8(state), uid: int(uid), inode: inode}, true
}

// parseProcAddr reads an address: its 32-bit words as numbers of this machine,
// although they are in network order, and the port.
func parseProcAddr(text string) (netip.AddrPort, bool) {
	words, port, _ := strings.Cut(text, ":")
	if len(words) != 8 && len(words) != 32 {
		return netip.AddrPort{}, false
	}
	var ip []byte
	for ; words != ""; words = words[8:] {
		w, err := strconv.ParseUint(words[:8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, false
		}
		ip = binary.NativeEndian.AppendUint32(ip, uint32(w))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	addr, ok := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), ok && err == nil
}
