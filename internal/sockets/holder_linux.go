package sockets

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Holder returns the process that keeps others from listening on a local TCP
// address: as a rule it listens there itself, or on all addresses; else it has
// a connection from there. A process of another user may be invisible and then
// has a user only. It returns false where nobody is found, such as when it has
// let go in the meantime.
func Holder(addr *net.TCPAddr) (Process, bool) {
	s, found := holding(procFiles, addrPort(addr))
	if !found {
		return Process{}, false
	}
	p := Process{UID: s.uid, User: UserName(s.uid), Listens: s.state == stateListen}
	if pid := pidOf("/proc", s.inode); pid != 0 {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
			p.PID, p.Name = pid, strings.TrimSuffix(string(name), "\n")
		}
	}
	return p, true
}

// Kinds of sockets that keep an address, the likelier culprit first.
const (
	listensHere = iota + 1
	listensEverywhere
	connectedFromHere
)

// holding returns the socket that most likely keeps addr.
func holding(t procNet, addr netip.AddrPort) (best socket, found bool) {
	rank := 0
	t.each(addr.Port(), func(s socket) bool {
		if s.inode == 0 || s.local.Port() != addr.Port() || !overlap(s.local.Addr(), addr.Addr()) {
			return true
		}
		r := connectedFromHere
		if s.state == stateListen {
			r = listensEverywhere
			if s.local == addr {
				r = listensHere
			}
		}
		if rank == 0 || r < rank {
			best, rank = s, r
		}
		return rank != listensHere
	})
	return best, rank != 0
}

// overlap reports whether a socket on one address is in the way of one on the
// other. [::] as a rule takes IPv4 as well.
func overlap(a, b netip.Addr) bool {
	wide := func(all, one netip.Addr) bool {
		return !all.IsValid() || all.IsUnspecified() && (all.Is6() || one.Is4())
	}
	return a == b || wide(a, b) || wide(b, a)
}

// pidOf returns the process that has a socket open, and 0 if it cannot be seen.
// Of several, such as a server and the service manager that gave it the socket,
// it is the eldest besides process 1.
func pidOf(proc string, inode uint64) int {
	link := fmt.Sprintf("socket:[%d]", inode)
	var pids []int
	dirs, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd"))
	for _, dir := range dirs {
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // another user's, or ended
		}
		if slices.ContainsFunc(fds, func(fd os.DirEntry) bool {
			to, err := os.Readlink(filepath.Join(dir, fd.Name()))
			return err == nil && to == link
		}) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		return 0
	}
	return slices.MinFunc(pids, func(a, b int) int { return cmp.Compare(uint(a-2), uint(b-2)) })
}
