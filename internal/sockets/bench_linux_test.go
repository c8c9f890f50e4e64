package sockets

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkPeerUID is the price of a look at one connection among many open
// sockets of the machine: as PeerUID does it, with a netlink socket that is kept
// open, and by the text in /proc.
func BenchmarkPeerUID(b *testing.B) {
	for _, open := range []int{10, 10_000} {
		for _, kind := range []string{"tcp4", "tcp6", "unix"} {
			b.Run(fmt.Sprintf("%s/%d", kind, open), func(b *testing.B) {
				c := crowd(b, kind, open)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := PeerUID(c); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		for name, look := range map[string]func(b *testing.B) func(flow) (socket, bool, error){
			"kept": keptOpen,
			"proc": func(*testing.B) func(flow) (socket, bool, error) { return procNet(procFiles).find },
		} {
			b.Run(fmt.Sprintf("tcp4 %s/%d", name, open), func(b *testing.B) {
				c := crowd(b, "tcp4", open)
				find := look(b)
				f := flow{addrPort(c.RemoteAddr().(*net.TCPAddr)), addrPort(c.LocalAddr().(*net.TCPAddr))}
				for b.Loop() {
					if s, found, err := find(f); err != nil || !found || !s.held() {
						b.Fatal(s, found, err)
					}
				}
			})
		}
	}
}

func keptOpen(b *testing.B) func(flow) (socket, bool, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	return func(f flow) (socket, bool, error) { return ask(fd, f) }
}

// crowd opens connections of a kind with so many sockets at both ends, and
// returns one.
func crowd(b *testing.B, kind string, sockets int) net.Conn {
	addr := "127.0.0.1:0"
	switch kind {
	case "tcp6":
		addr = "[::1]:0"
	case "unix":
		addr = filepath.Join(b.TempDir(), "s")
	}
	ln := listen(b, kind, addr)
	var c net.Conn
	for range sockets / 2 {
		c = connect(b, ln, plain).accepted
	}
	return c
}
