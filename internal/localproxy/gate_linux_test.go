package localproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tshx/internal/sockets"
)

// nobody is a user other than root.
const nobody = 65534

// asNobody dials as another user: the user ids of a thread are its own, and it
// ends with the goroutine.
func asNobody(ln net.Listener) (c net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); errno != 0 {
			err = errno
			return
		}
		c, err = net.Dial(ln.Addr().Network(), ln.Addr().String())
	}()
	<-done
	return c, err
}

// foreigner returns whom a gate is for, and a dial of another user. Root dials
// as somebody else; others pretend to be a stranger at their own gate.
func foreigner() (uid int, dial func(net.Listener) (net.Conn, error)) {
	if os.Geteuid() == 0 {
		return 0, asNobody
	}
	return os.Geteuid() + 1, func(ln net.Listener) (net.Conn, error) {
		return net.Dial(ln.Addr().Network(), ln.Addr().String())
	}
}

// gateListeners returns a listener of each kind that everybody can connect to.
func gateListeners(t *testing.T) map[string]net.Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "tshx-gate-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	local, err := net.Listen("unix", path)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o666))
	}
	if err != nil {
		t.Fatal(err)
	}
	lns := map[string]net.Listener{"tcp": listen(t), "unix": local}
	for _, ln := range lns {
		t.Cleanup(func() { ln.Close() })
	}
	return lns
}

// serve runs s on ln until the end of the test.
func serve(t *testing.T, s *Server, ln net.Listener) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// greet writes to everybody who gets in.
var greet = handlerFunc(func(_ context.Context, c net.Conn) { io.WriteString(c, "welcome"); c.Close() })

func TestServerAdmits(t *testing.T) {
	for name, ln := range gateListeners(t) {
		t.Run(name, func(t *testing.T) {
			var told atomic.Int32
			uid, dialForeign := foreigner()
			foreign := &Gate{UID: uid, Report: func(err error) {
				told.Add(1)
				var e *ForeignUserError
				if !errors.As(err, &e) || os.Geteuid() == 0 && e.UID != nobody {
					t.Errorf("told %v", err)
				}
			}}
			s := &Server{Handler: greet, Admit: foreign.Admit}
			serve(t, s, ln)
			const many = 20
			for range many {
				c, err := dialForeign(ln)
				if errors.Is(err, syscall.ECONNRESET) {
					continue // as fast as that
				}
				if err != nil {
					t.Fatal(err)
				}
				_, werr := io.WriteString(c, "let me in")
				b, rerr := io.ReadAll(c)
				if len(b) != 0 || name == "tcp" && !errors.Is(errors.Join(werr, rerr), syscall.ECONNRESET) {
					t.Errorf("read %q, %v, %v, want a reset", b, werr, rerr)
				}
				c.Close()
			}
			if n := s.Refused(); n != many || told.Load() != 1 {
				t.Errorf("refused %d, told %d times, want %d and once", n, told.Load(), many)
			}
		})
	}
}

func TestServerLetsIn(t *testing.T) {
	_, dialForeign := foreigner()
	own := func(ln net.Listener) (net.Conn, error) { return net.Dial(ln.Addr().Network(), ln.Addr().String()) }
	silent := func(err error) { t.Errorf("told %v", err) }
	for _, tt := range []struct {
		name  string
		admit func(net.Conn) error
		dial  func(net.Listener) (net.Conn, error)
		root  bool // for root only
	}{
		{"the owner", (&Gate{UID: os.Geteuid(), Report: silent}).Admit, own, false},
		{"another owner", (&Gate{UID: nobody, Report: silent}).Admit, asNobody, true},
		{"root", (&Gate{UID: nobody, Report: silent}).Admit, own, true},
		{"everybody", nil, dialForeign, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root && os.Geteuid() != 0 {
				t.Skip("only root can connect as root and as another user")
			}
			for name, ln := range gateListeners(t) {
				s := &Server{Handler: greet, Admit: tt.admit}
				serve(t, s, ln)
				c, err := tt.dial(ln)
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(c); err != nil || string(b) != "welcome" || s.Refused() != 0 {
					t.Errorf("%s: read %q, %v, refused %d", name, b, err, s.Refused())
				}
				c.Close()
			}
		})
	}
}

// A client that has gone before it was looked at is nobody's: what it has sent
// is lost, which is worth a word, but only one.
func TestGateGone(t *testing.T) {
	for _, tt := range []struct {
		name, words string
		told        int
	}{
		{"with words", "SET a 1\r\n", 1},
		{"without", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var told []error
			g := &Gate{UID: os.Geteuid(), Report: func(err error) { told = append(told, err) }}
			ln := listen(t)
			defer ln.Close()
			for range 3 {
				client := dial(t, ln)
				c, err := ln.Accept()
				if err != nil {
					t.Fatal(err)
				}
				io.WriteString(client, tt.words)
				client.Close()
				if err := g.Admit(c); !errors.Is(err, sockets.ErrGone) {
					t.Errorf("%v, want %v", err, sockets.ErrGone)
				}
				c.Close()
			}
			if len(told) != tt.told {
				t.Errorf("told %v, want %d", told, tt.told)
			}
		})
	}
}

// unreadable is a connection that the system does not know.
type unreadable struct{ net.Conn }

func TestGateUnusable(t *testing.T) {
	var told []error
	g := &Gate{UID: os.Geteuid(), Report: func(err error) { told = append(told, err) }}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	for range 3 {
		if err := g.Admit(unreadable{a}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v", err)
		}
	}
	if len(told) != 1 {
		t.Errorf("told %v, want it once", told)
	}
}

// BenchmarkAdmit is what the gate adds to a connection, next to all of one.
func BenchmarkAdmit(b *testing.B) {
	g := &Gate{UID: os.Geteuid()}
	for name, admit := range map[string]func(net.Conn) error{"gate": g.Admit, "none": nil} {
		b.Run(name, func(b *testing.B) {
			ln, err := Listen("127.0.0.1:0", false)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- (&Server{Handler: greet, Admit: admit}).Serve(ctx, ln) }()
			for b.Loop() {
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				if text, err := io.ReadAll(c); err != nil || len(text) == 0 {
					b.Fatalf("%q, %v", text, err)
				}
				c.Close()
			}
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
