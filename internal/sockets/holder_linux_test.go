package sockets

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestHolder(t *testing.T) {
	self := Process{PID: os.Getpid(), UID: os.Geteuid(), User: UserName(os.Geteuid()), Listens: true}
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	self.Name = string(name[:len(name)-1])
	for _, tt := range []struct{ network, addr, want string }{
		{"tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"tcp4", "0.0.0.0:0", "127.0.0.1"},
		{"tcp", "[::]:0", "127.0.0.1"},
		{"tcp6", "[::1]:0", "::1"},
		{"tcp4", "127.0.0.1:0", "0.0.0.0"},
		{"tcp4", "127.0.0.1:0", ""},
	} {
		ln := listen(t, tt.network, tt.addr)
		wanted := &net.TCPAddr{IP: net.ParseIP(tt.want), Port: ln.Addr().(*net.TCPAddr).Port}
		if p, found := Holder(wanted); !found || p != self {
			t.Errorf("%s held by %v, %v, want %v", wanted, p, found, self)
		}
		ln.Close()
		if p, found := Holder(wanted); found && p == self {
			t.Errorf("%s still held after Close", wanted)
		}
	}
}

func TestHolding(t *testing.T) {
	table := procFile(t, procText(
		procLine("127.0.0.1:5000", "127.0.0.1:40000", 1, 1, 1),
		procLine("0.0.0.0:5000", "0.0.0.0:0", 10, 2, 2),
		procLine("127.0.0.1:5000", "0.0.0.0:0", 10, 3, 3),
		procLine("127.0.0.1:5001", "127.0.0.1:40000", 6, 0, 0), // TIME-WAIT
		procLine("127.0.0.1:5002", "127.0.0.1:40000", 1, 1, 4),
		procLine("[::]:5003", "[::]:0", 10, 1, 5),
		procLine("[::1]:5004", "[::]:0", 10, 1, 6),
	))
	for addr, want := range map[string]uint64{
		"127.0.0.1:5000": 3,
		"127.0.0.2:5000": 2,
		"0.0.0.0:5000":   2,
		"[::1]:5000":     0,
		"127.0.0.1:5001": 0,
		"127.0.0.1:5002": 4,
		"127.0.0.1:5003": 5,
		"127.0.0.1:5004": 0,
		"[::]:5004":      6,
		"127.0.0.1:5005": 0,
	} {
		s, found := holding(table, netip.MustParseAddrPort(addr))
		if s.inode != want || found != (want != 0) {
			t.Errorf("%s is held by socket %d, %v, want %d", addr, s.inode, found, want)
		}
	}
}

func TestPIDOf(t *testing.T) {
	proc := t.TempDir()
	for _, link := range []string{"1/fd/3 7", "30/fd/4 7", "4/fd/9 7", "30/fd/5 8", "1/fd/4 9", "self/fd/1 10", "11/fd/0 77"} {
		var path string
		var inode int
		fmt.Sscan(link, &path, &inode)
		path = filepath.Join(proc, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(fmt.Sprintf("socket:[%d]", inode), path); err != nil {
			t.Fatal(err)
		}
	}
	for inode, want := range map[uint64]int{7: 4, 8: 30, 9: 1, 10: 0, 77: 11, 5: 0} {
		if got := pidOf(proc, inode); got != want {
			t.Errorf("socket %d: process %d, want %d", inode, got, want)
		}
	}
}

func TestUserName(t *testing.T) {
	if got := UserName(0); got != "root" {
		t.Errorf("user 0 is %q", got)
	}
	if got := UserName(3999999999); got != "3999999999" {
		t.Errorf("a user without a name is %q", got)
	}
}
