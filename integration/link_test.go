//go:build linux

package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tshx/internal/lab"
)

// Addresses of a link's two ends, from the range for measurements (RFC 2544).
const (
	serverEnd = "198.18.77.1"
	clientEnd = "198.18.77.2"
)

// link is a network between this machine and a namespace of its own, in which
// clients run. It is two TUN devices, between which the test carries the packets,
// late or not at all. That needs no netem in the kernel and no firewall, and
// delays TCP's own packets, which a relay of streams could not.
type link struct {
	t       testing.TB
	ns      string
	delay   time.Duration // each way
	severed atomic.Bool   // nothing gets through
}

// newLink makes a link until the end of the test, of which there can be one at a
// time. See lacking for where that is not allowed.
func newLink(t testing.TB, delay time.Duration) *link {
	t.Helper()
	need(t, "ip")
	if os.Geteuid() != 0 {
		lacking(t, "only root makes network namespaces")
	}
	l := &link{t: t, ns: fmt.Sprintf("tshx%d", os.Getpid()), delay: delay}
	near, far := l.tun("near"), l.tun("far")
	if err := ipCommand("netns", "add", l.ns); err != nil {
		lacking(t, "no network namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := ipCommand("netns", "del", l.ns); err != nil {
			t.Error(err)
		}
	})
	l.hosts(map[string]string{squidName: serverEnd, "localhost": "127.0.0.1"})
	for _, args := range [][]string{
		{"addr", "add", serverEnd + "/30", "dev", near.name}, {"link", "set", near.name, "up"},
		{"link", "set", far.name, "netns", l.ns}, {"-n", l.ns, "link", "set", "lo", "up"},
		{"-n", l.ns, "addr", "add", clientEnd + "/30", "dev", far.name}, {"-n", l.ns, "link", "set", far.name, "up"},
	} {
		if err := ipCommand(args...); err != nil {
			t.Fatal(err)
		}
	}
	go l.carry(near, far)
	go l.carry(far, near)
	return l
}

func ipCommand(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}

type tun struct {
	*os.File
	name string
}

// tun makes a device, which goes away when its file is closed.
func (l *link) tun(end string) tun {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		lacking(l.t, "no TUN devices: %v", err)
	}
	name := fmt.Sprintf("tshx%s%d", end, os.Getpid()%100000)
	req, err := unix.NewIfreq(name)
	if err != nil {
		l.t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		lacking(l.t, "no TUN device: %v", err)
	}
	f := os.NewFile(uintptr(fd), name)
	l.t.Cleanup(func() { f.Close() })
	return tun{f, name}
}

// hosts is the /etc/hosts of programs in the namespace (ip-netns(8)).
func (l *link) hosts(names map[string]string) {
	dir := filepath.Join("/etc/netns", l.ns)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Skip(err)
	}
	l.t.Cleanup(func() {
		os.RemoveAll(dir)
		os.Remove(filepath.Dir(dir)) // if it is empty
	})
	text := ""
	for name, addr := range names {
		text += addr + " " + name + "\n"
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// carry takes packets from one device to the other until either is closed.
func (l *link) carry(from, to tun) {
	type packet struct {
		data []byte
		due  time.Time
	}
	queue := make(chan packet, 1<<14)
	go func() {
		for p := range queue {
			time.Sleep(time.Until(p.due))
			if !l.severed.Load() {
				to.Write(p.data)
			}
		}
	}()
	defer close(queue)
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		queue <- packet{append([]byte(nil), buf[:n]...), time.Now().Add(l.delay)}
	}
}

// login is a login of the modern cluster behind the link, through the server at
// addr on this machine, whose certificate is for squidName.
func (l *link) login(addr string) *transport {
	l.t.Helper()
	tr, err := modern.get(l.t).login(at(squidName, l.forward(addr)), lab.HomeOptions{})
	check(l.t, err)
	return tr
}

// forward returns an address that leads from the namespace to one of this machine.
func (l *link) forward(addr string) string {
	l.t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(serverEnd, "0"))
	check(l.t, err)
	board := &switchboard{addr: ln.Addr().String(), target: addr, open: map[*net.TCPConn]bool{}}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go board.carry(c.(*net.TCPConn))
		}
	}()
	l.t.Cleanup(func() { ln.Close(); board.cut() })
	return board.addr
}

// tshx runs tshx in the namespace.
func (l *link) tshx(tr *transport, args ...string) *program {
	l.t.Helper()
	return launch(l.t, tr.options(), append([]string{"ip", "netns", "exec", l.ns, tshxPath}, args...)...)
}

// dial connects to a loopback address of the namespace.
func (l *link) dial(addr string) *net.TCPConn {
	l.t.Helper()
	type result struct {
		net.Conn
		error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this function
		c, err := l.dialInside(addr)
		done <- result{c, err}
	}()
	r := <-done
	if r.error != nil {
		l.t.Fatal(r.error)
	}
	l.t.Cleanup(func() { r.Close() })
	return r.Conn.(*net.TCPConn)
}

func (l *link) dialInside(addr string) (net.Conn, error) {
	ns, err := os.Open(filepath.Join("/run/netns", l.ns))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	return net.Dial("tcp", addr)
}
