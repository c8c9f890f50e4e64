//go:build linux

package integration

import (
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// listen returns a loopback listener that the test closes.
func listen(t testing.TB) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

// serve hands each connection of a new listener to handle, which owns it, and
// returns the address.
func serve(t testing.TB, handle func(c *net.TCPConn)) string {
	t.Helper()
	ln := listen(t)
	go func() {
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
	return ln.Addr().String()
}

// closedPort returns an address that refuses connections as long as the test
// runs: its port is bound, so that nobody else gets it, but not listened on.
func closedPort(t testing.TB) string {
	t.Helper()
	_, addr := boundPort(t)
	return addr
}

// boundPort returns the socket that closedPort keeps its port with.
func boundPort(t testing.TB) (fd int, addr string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
}

// dial opens a connection that the test closes.
func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// reset closes c so that the other end sees a reset.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// switchboard is an address behind which the server can change while clients
// run, as behind a DNS name or a virtual IP address. It carries bytes only.
type switchboard struct {
	addr string

	mu     sync.Mutex
	target string
	open   map[*net.TCPConn]bool
}

func startSwitchboard(target string) (*switchboard, error) {
	s := &switchboard{target: target, open: map[*net.TCPConn]bool{}}
	srv, err := startService(s.carry)
	if err != nil {
		return nil, err
	}
	s.addr = srv.addr
	return s, nil
}

// newSwitchboard is startSwitchboard for one test.
func newSwitchboard(t testing.TB, target string) *switchboard {
	t.Helper()
	s, err := startSwitchboard(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cut)
	return s
}

// to sends new connections to another server.
func (s *switchboard) to(target string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.target = target
}

// cut resets all connections that are open now, on both sides.
func (s *switchboard) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		reset(c)
	}
	clear(s.open)
}

func (s *switchboard) carry(c *net.TCPConn) {
	s.mu.Lock()
	target := s.target
	s.mu.Unlock()
	up, err := net.Dial("tcp", target)
	if err != nil {
		reset(c)
		return
	}
	server := up.(*net.TCPConn)
	s.mu.Lock()
	s.open[c], s.open[server] = true, true
	s.mu.Unlock()
	var both sync.WaitGroup
	one := func(dst, src *net.TCPConn) {
		if _, err := io.Copy(dst, src); err != nil {
			reset(dst)
		}
		dst.CloseWrite()
	}
	both.Go(func() { one(server, c) })
	both.Go(func() { one(c, server) })
	both.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	delete(s.open, server)
	c.Close()
	server.Close()
}
