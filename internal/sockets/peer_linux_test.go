package sockets

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is a user other than the one who runs the tests.
const nobody = 65534

// pair is a connection and its peer.
type pair struct{ accepted, client net.Conn }

func connect(t testing.TB, ln net.Listener, dial func(net.Addr) (net.Conn, error)) pair {
	t.Helper()
	client, err := dial(ln.Addr())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); accepted.Close() })
	return pair{accepted, client}
}

func listen(t testing.TB, network, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func plain(a net.Addr) (net.Conn, error) { return net.Dial(a.Network(), a.String()) }

// mapped connects to 127.0.0.1 with an IPv6 socket.
func mapped(a net.Addr) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "mapped")
	defer f.Close()
	to := &unix.SockaddrInet6{Port: a.(*net.TCPAddr).Port}
	copy(to.Addr[:], net.IPv4(127, 0, 0, 1).To16())
	if err := unix.Connect(fd, to); err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// foreign dials as another user: the user ids of a thread are its own. The
// thread ends with the goroutine. Dial must not use other goroutines.
func foreign(a net.Addr, dial func(net.Addr) (net.Conn, error)) (c net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); errno != 0 {
			err = errno
			return
		}
		c, err = dial(a)
	}()
	<-done
	return c, err
}

var kinds = []struct {
	name, network, addr string
	dial                func(net.Addr) (net.Conn, error)
}{
	{"tcp4", "tcp4", "127.0.0.1:0", plain},
	{"tcp6", "tcp6", "[::1]:0", plain},
	{"tcp4 to tcp6 listener", "tcp", "[::]:0", func(a net.Addr) (net.Conn, error) {
		return net.Dial("tcp4", (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: a.(*net.TCPAddr).Port}).String())
	}},
	{"tcp6 to tcp4 listener", "tcp4", "127.0.0.1:0", mapped},
	{"tcp6 to tcp6 listener, mapped", "tcp", "[::]:0", mapped},
	{"unix", "unix", "", plain},
}

// each runs a test for every kind of connection and way to look it up.
func each(t *testing.T, f func(t *testing.T, ln net.Listener, dial func(net.Addr) (net.Conn, error))) {
	for _, ways := range []struct {
		name   string
		tables []table
	}{
		{"sock_diag", []table{sockDiag{}}},
		{"proc after a refusal", []table{refusing{}, procNet(procFiles)}},
		{"proc after an empty table", []table{empty{}, procNet(procFiles)}},
	} {
		t.Run(ways.name, func(t *testing.T) {
			before := tables
			tables = ways.tables
			t.Cleanup(func() { tables = before })
			for _, k := range kinds {
				t.Run(k.name, func(t *testing.T) {
					addr := k.addr
					if k.network == "unix" {
						addr = filepath.Join(t.TempDir(), "s")
					}
					f(t, listen(t, k.network, addr), k.dial)
				})
			}
		})
	}
}

var errRefusing = errors.New("not for you")

// refusing is a table that may not be looked at, empty one that knows nothing.
type (
	refusing struct{}
	empty    struct{}
)

func (refusing) find(flow) (socket, bool, error) { return socket{}, false, errRefusing }
func (empty) find(flow) (socket, bool, error)    { return socket{}, false, nil }

func TestPeerUID(t *testing.T) {
	each(t, func(t *testing.T, ln net.Listener, dial func(net.Addr) (net.Conn, error)) {
		p := connect(t, ln, dial)
		uid, err := PeerUID(p.accepted)
		if err != nil || uid != os.Geteuid() {
			t.Errorf("client has uid %d, %v, want %d", uid, err, os.Geteuid())
		}
		if uid, err = PeerUID(p.client); err != nil || uid != os.Geteuid() {
			t.Errorf("server has uid %d, %v, want %d", uid, err, os.Geteuid())
		}
		// A client that has half-closed is still there.
		p.client.(interface{ CloseWrite() error }).CloseWrite()
		io.ReadAll(p.accepted)
		if uid, err = PeerUID(p.accepted); err != nil || uid != os.Geteuid() {
			t.Errorf("half-closed client has uid %d, %v, want %d", uid, err, os.Geteuid())
		}
	})
}

func TestPeerUIDForeign(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can connect as another user")
	}
	each(t, func(t *testing.T, ln net.Listener, dial func(net.Addr) (net.Conn, error)) {
		if ln.Addr().Network() == "unix" {
			os.Chmod(filepath.Dir(ln.Addr().String()), 0o777)
			os.Chmod(filepath.Dir(filepath.Dir(ln.Addr().String())), 0o777)
			os.Chmod(ln.Addr().String(), 0o666)
		}
		p := connect(t, ln, func(a net.Addr) (net.Conn, error) { return foreign(a, dial) })
		if uid, err := PeerUID(p.accepted); err != nil || uid != nobody {
			t.Errorf("uid %d, %v, want %d", uid, err, nobody)
		}
	})
}

// What is left of a closed TCP socket counts for nobody: the kernel gives it
// to root. A unix socket keeps its peer's user.
func TestPeerUIDGone(t *testing.T) {
	for name, end := range map[string]func(p pair){
		"closed":           func(p pair) { p.client.Close() },
		"closed with data": func(p pair) { io.WriteString(p.client, "DELETE"); p.client.Close() },
		"both closed": func(p pair) {
			p.client.(interface{ CloseWrite() error }).CloseWrite()
			p.accepted.(interface{ CloseWrite() error }).CloseWrite()
			p.client.Close()
		},
		"reset": func(p pair) {
			if c, ok := p.client.(*net.TCPConn); ok {
				c.SetLinger(0)
			}
			p.client.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, ln net.Listener, dial func(net.Addr) (net.Conn, error)) {
				p := connect(t, ln, dial)
				end(p)
				uid, err := PeerUID(p.accepted)
				if ln.Addr().Network() == "unix" {
					if err != nil || uid != os.Geteuid() {
						t.Errorf("uid %d, %v, want %d", uid, err, os.Geteuid())
					}
				} else if !errors.Is(err, ErrGone) {
					t.Errorf("uid %d, %v, want %v", uid, err, ErrGone)
				}
			})
		})
	}
}

// A client in the backlog may be gone before anybody looks: many at once.
func TestPeerUIDNeverRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can connect as another user")
	}
	ln := listen(t, "tcp4", "127.0.0.1:0")
	var seen, gone int
	for range 500 {
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			if c, err := foreign(ln.Addr(), plain); err == nil {
				io.WriteString(c, "x")
				c.Close()
			}
		}()
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		switch uid, err := PeerUID(c); {
		case err == nil && uid == nobody:
			seen++
		case errors.Is(err, ErrGone):
			gone++
		default:
			t.Errorf("uid %d, %v", uid, err)
		}
		c.Close()
		<-closed
	}
	t.Logf("%d seen, %d gone", seen, gone)
}

func TestPeerUIDErrors(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	if _, err := PeerUID(a); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("pipe: %v", err)
	}
	p := connect(t, listen(t, "tcp4", "127.0.0.1:0"), plain)
	defer func(before []table) { tables = before }(tables)
	tables = []table{refusing{}, procNet{"/proc/net/none"}}
	if _, err := PeerUID(p.accepted); !errors.Is(err, errRefusing) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no table: %v", err)
	}
	unixEnd := connect(t, listen(t, "unix", filepath.Join(t.TempDir(), "s")), plain).accepted
	unixEnd.Close()
	if _, err := PeerUID(unixEnd); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// elsewhere is a connection that another machine may have opened.
type elsewhere struct {
	net.Conn
	remote *net.TCPAddr
}

func (c elsewhere) RemoteAddr() net.Addr { return c.remote }

func TestPeerUIDRemote(t *testing.T) {
	p := connect(t, listen(t, "tcp4", "127.0.0.1:0"), plain)
	ours, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		ip   net.IP
		want error
	}{
		{"another machine", net.IPv4(192, 0, 2, 1), ErrRemote},
		{"another machine, IPv6", net.ParseIP("2001:db8::1"), ErrRemote},
		{"loopback", net.IPv4(127, 9, 9, 9), ErrGone},
		{"our address", ours[len(ours)-1].(*net.IPNet).IP, ErrGone},
	} {
		c := elsewhere{p.accepted, &net.TCPAddr{IP: tt.ip, Port: 1}}
		if uid, err := PeerUID(c); !errors.Is(err, tt.want) {
			t.Errorf("%s: uid %d, %v, want %v", tt.name, uid, err, tt.want)
		}
	}
}
