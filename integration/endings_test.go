//go:build linux

package integration

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// raw is the transport of the tests for which the way does not matter.
func raw(t testing.TB) *transport { return transports[0].get(t) }

// TestSignals: the first signal drains, the second one cuts.
func TestSignals(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run("idle "+s.String(), func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			p := raw(t).start(t, "proxy", "app", "echo")
			addr := p.lineAfter("address: ")
			p.signal(s)
			if code := p.wait(); code != 0 || p.stderr.String() != "" {
				t.Errorf("exit code %d, said %q", code, p.stderr.String())
			}
			if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("the listener is still there: %v", err)
			}
		})
		t.Run("drains "+s.String(), func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			p, c := echoing(t)
			p.signal(s)
			p.await("draining ")
			answers(t, c)
			c.Close()
			if code := p.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			oneLine(t, p.stderr.String(), `1 connection.*interrupt again`)
		})
	}
	t.Run("second", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		p, c := echoing(t)
		p.signal(syscall.SIGINT)
		p.await("draining ")
		// One key press can arrive twice, so a quick repetition does not count.
		eventually(patience, func() bool { p.signal(syscall.SIGINT); return p.ended() })
		if code := p.wait(); code != codeInterrupted {
			t.Errorf("exit code %d, want %d", code, codeInterrupted)
		}
		if n, _ := io.Copy(io.Discard, c); n != 0 {
			t.Errorf("%d bytes out of nowhere", n)
		}
	})
	t.Run("ssh", func(t *testing.T) {
		t.Parallel()
		need(t, "sshd")
		nothingLeft(t)
		o := raw(t).options()
		in, _ := pipe(t)
		o.stdin = in
		p := launch(t, o, tshxPath, "proxy", "ssh", osUser()+"@node1:3022")
		p.lineAfter("SSH-2.0-")
		p.signal(syscall.SIGTERM)
		if code := p.wait(); code != 0 || p.stderr.String() != "" {
			t.Errorf("exit code %d, said %q", code, p.stderr.String())
		}
	})
}

// echoing returns a proxy with one open connection that works.
func echoing(t testing.TB) (*program, *net.TCPConn) {
	t.Helper()
	p := raw(t).start(t, "proxy", "app", "echo")
	c := dial(t, p.lineAfter("address: "))
	answers(t, c)
	return p, c
}

// answers checks that the echo service is at the other end of c.
func answers(t testing.TB, c net.Conn) {
	t.Helper()
	const text = "are you there?"
	got := make([]byte, len(text))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v", got, err)
	}
}

// TestPortTaken: the line names the address and says how to choose another.
func TestPortTaken(t *testing.T) {
	nothingLeft(t)
	addr := listen(t).Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	p := launch(t, raw(t).options(), tshxPath, "proxy", "app", "echo", "--port", port)
	if code := p.wait(); code != codeFailure {
		t.Errorf("exit code %d, want %d", code, codeFailure)
	}
	if out := p.stdout.String(); out != "" {
		t.Errorf("announced %q", out)
	}
	oneLine(t, p.stderr.String(), addr+`.*in use.*--port`)
}

// TestParentGone: a tshx whose parent was killed must not stay.
func TestParentGone(t *testing.T) {
	t.Run("ssh", func(t *testing.T) {
		t.Parallel()
		need(t, "ssh", "sshd")
		nothingLeft(t)
		tr := raw(t)
		o := tr.options()
		o.stdin, _ = pipe(t)
		p := launch(t, o, "ssh", "-F", sshConfig(t, tr), sshTarget(tr), "echo is up; cat")
		p.lineAfter("is ")
		p.signal(syscall.SIGKILL)
		p.wait()
	})
	t.Run("silent node", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		o := raw(t).options()
		inRead, inWrite := pipe(t)
		outRead, outWrite := pipe(t)
		o.stdin, o.stdout = inRead, outWrite
		before := silent.get(t).busy.Load()
		p := launch(t, o, tshxPath, "proxy", "ssh", osUser()+"@silent:3022")
		if !eventually(patience, func() bool { return silent.get(t).busy.Load() > before || p.ended() }) || p.ended() {
			t.Fatal("the node was not reached")
		}
		// What the kernel does when ssh dies.
		for _, f := range []io.Closer{inRead, inWrite, outRead, outWrite} {
			f.Close()
		}
		if code := p.wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("proxy app", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		p := launch(t, raw(t).options(), "sh", "-c", tshxPath+" proxy app echo --exit-with-parent & wait")
		p.lineAfter("address: ")
		p.signal(syscall.SIGKILL)
		p.wait()
	})
}

// TestClientLeaves: clients that come and go without finishing anything cost
// the others nothing.
func TestClientLeaves(t *testing.T) {
	sslRequest := []byte{0, 0, 0, 8, 4, 210, 22, 47}
	leave := map[string]func(*net.TCPConn){
		"closes":      func(c *net.TCPConn) { c.Close() },
		"half-closes": func(c *net.TCPConn) { c.CloseWrite() },
		"resets":      reset,
	}
	for _, tunnel := range []bool{false, true} {
		t.Run(strings.Join(append([]string{"postgres"}, mode(tunnel)...), " "), func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			postgres.get(t)
			// Without the look at whose a connection is, which comes too late for some
			// of these.
			p := raw(t).start(t, append([]string{"proxy", "db", "pg", "--allow-any-local-user"}, mode(tunnel)...)...)
			addr := p.lineAfter("address: ")
			for name, leave := range leave {
				for _, first := range [][]byte{nil, sslRequest[:5], sslRequest} {
					c := dial(t, addr)
					if _, err := c.Write(first); err != nil {
						t.Fatalf("client that %s: %v", name, err)
					}
					leave(c)
				}
			}
			c, err := pgx.Connect(t.Context(), p.lineAfter("url: "))
			if err != nil {
				t.Fatal(err)
			}
			c.Close(t.Context())
		})
	}
}

// TestHalfClose: either side may end first, and the other one still gets
// through. TestBulk has the client end first, on every transport.
func TestHalfClose(t *testing.T) {
	nothingLeft(t)
	p := raw(t).start(t, "proxy", "app", "polite")
	c := dial(t, p.lineAfter("address: "))
	if got, err := io.ReadAll(c); err != nil || string(got) != farewell {
		t.Errorf("the server said %q, %v", got, err)
	}
	const last = "but I have one thing more"
	if _, err := io.WriteString(c, last); err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	if got := heardPolitely(t); got != last {
		t.Errorf("the server heard %q", got)
	}
}

// TestTorn: an end in the middle must not look like an orderly one, or a
// client takes half an answer for the whole.
func TestTorn(t *testing.T) {
	t.Run("server resets", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		p := launch(t, raw(t).options(), tshxPath, "proxy", "app", "torn")
		c := dial(t, p.lineAfter("address: "))
		io.WriteString(c, "?")
		n, err := io.Copy(io.Discard, c)
		if err == nil || n > torn {
			t.Errorf("after %d bytes of %d: %v, want a reset", n, torn, err)
		}
		saysReset(t, p)
	})
	t.Run("network cut", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		board := newSwitchboard(t, modern.get(t).direct)
		p := launch(t, privateLogin(t, board.addr).options(), tshxPath, "proxy", "app", "echo")
		addr := p.lineAfter("address: ")
		c := dial(t, addr)
		answers(t, c)
		board.cut()
		if n, err := io.Copy(io.Discard, c); err == nil || n != 0 {
			t.Errorf("after %d bytes: %v, want a reset", n, err)
		}
		last := dial(t, addr)
		answers(t, last) // the listener lives on
		last.Close()
		saysReset(t, p)
	})
}

// TestNohup: who starts tshx with nohup(1) wants it to outlive the terminal.
func TestNohup(t *testing.T) {
	nothingLeft(t)
	p := launch(t, raw(t).options(), "nohup", tshxPath, "proxy", "app", "echo")
	addr := p.lineAfter("address: ")
	p.signal(syscall.SIGHUP)
	for range 3 {
		c := dial(t, addr)
		answers(t, c)
		c.Close()
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// saysReset ends a tshx that must have told of one reset, in one line.
func saysReset(t testing.TB, p *program) {
	t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	said := slices.DeleteFunc(lines(p.stderr.String()), func(l string) bool { return strings.Contains(l, "draining ") })
	oneLine(t, strings.Join(said, "\n"), `failed: read from the proxy: .*reset`)
}
