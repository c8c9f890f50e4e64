//go:build linux

package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// onlyYouListeners are the places where a tunnel may listen.
var onlyYouListeners = []struct{ name, network, listen string }{
	{"tcp4", "tcp", "127.0.0.1:0"},
	{"tcp6", "tcp", "[::1]:0"},
	{"unix", "unix", ""},
}

// onlyYou starts a tunnel to the echo service as a user, and returns who may
// try to connect to it. A unix socket is opened to everybody, as far as its mode
// goes.
func onlyYou(t *testing.T, uid int, network, listen string, args ...string) (*program, otherUser) {
	t.Helper()
	tr := loginOf(t, uid)
	client := otherUser{Network: network}
	if network == "unix" {
		client.Addr = filepath.Join(socketDir(t, uid), "s")
		listen = "unix:" + client.Addr
	}
	p := startAs(t, uid, tr, append([]string{"proxy", "app", "echo", "--listen", listen}, args...)...)
	addr := p.lineAfter("address: ")
	if network != "unix" {
		client.Addr = addr
		return p, client
	}
	info, err := os.Stat(client.Addr)
	check(t, err)
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("the socket has mode %o, want 600", mode)
	}
	return p, client
}

// socketDir is a directory of the user that all users can look into.
func socketDir(t *testing.T, uid int) string {
	t.Helper()
	dir, err := tempDir("socket")
	check(t, err)
	check(t, os.Chmod(dir, 0o755))
	check(t, os.Chown(dir, uid, uid))
	return dir
}

// end drains the tunnel and returns what it has said.
func (p *program) end() string {
	p.t.Helper()
	p.cmd.Process.Signal(os.Interrupt)
	if code := p.wait(); code != 0 {
		p.t.Errorf("exit code %d after SIGINT, want 0", code)
	}
	return strings.Join(says(p), "\n")
}

// TestOnlyYou: who has started the tunnel, and root, come through it; other
// users get not a byte, which is told once for each of them.
func TestOnlyYou(t *testing.T) {
	needRoot(t)
	nothingLeft(t)
	const many = 10
	for _, tt := range []struct {
		owner   int
		welcome []int
		foreign map[int]string // what is said about them
	}{
		{uidStranger, []int{uidStranger, uidRoot}, map[int]string{uidNobody: "user nobody (uid 65534)", uidStranger + 1: "user 64002"}},
		{uidRoot, []int{uidRoot}, map[int]string{uidNobody: "user nobody (uid 65534)", uidStranger: "user 64001"}},
	} {
		for _, l := range onlyYouListeners {
			t.Run(fmt.Sprintf("%d %s", tt.owner, l.name), func(t *testing.T) {
				t.Parallel()
				p, client := onlyYou(t, tt.owner, l.network, l.listen)
				if l.network == "unix" {
					client.Times = 1
					if got := client.run(t, uidNobody); len(got.Errors) != 1 || !strings.Contains(got.Errors[0], "permission denied") {
						t.Errorf("the mode of the socket lets others in: %+v", got)
					}
					check(t, os.Chmod(client.Addr, 0o666))
				}
				client.Times = many
				for uid := range tt.foreign {
					got := client.run(t, uid)
					if got.Answered != 0 || got.Bytes != 0 || len(got.Errors) != many {
						t.Errorf("user %d: %+v", uid, got)
					}
					for _, e := range got.Errors {
						if !strings.Contains(e, "reset") && (l.network == "tcp" || !strings.Contains(e, "EOF")) {
							t.Errorf("user %d was not reset: %s", uid, e)
						}
					}
				}
				for _, uid := range tt.welcome {
					if got := client.run(t, uid); got.Answered != many {
						t.Errorf("user %d: %+v", uid, got)
					}
				}
				said := p.end()
				if n := len(lines(said)); n != len(tt.foreign) {
					t.Errorf("said %d lines, want %d:\n%s", n, len(tt.foreign), said)
				}
				for _, user := range tt.foreign {
					if !strings.Contains(said, "tshx: refused a connection of "+user+"; --allow-any-local-user ") {
						t.Errorf("nothing is said of %s:\n%s", user, said)
					}
				}
			})
		}
	}
}

// TestAllowAnyLocalUser: those who ask for it get it.
func TestAllowAnyLocalUser(t *testing.T) {
	needRoot(t)
	nothingLeft(t)
	for _, l := range onlyYouListeners {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			p, client := onlyYou(t, uidStranger, l.network, l.listen, "--allow-any-local-user")
			if l.network == "unix" {
				check(t, os.Chmod(client.Addr, 0o666))
			}
			client.Times = 3
			for _, uid := range []int{uidNobody, uidStranger, uidRoot} {
				if got := client.run(t, uid); got.Answered != client.Times {
					t.Errorf("user %d: %+v", uid, got)
				}
			}
			if said := p.end(); said != "" {
				t.Errorf("said %s", said)
			}
		})
	}
}

// TestPortHeldByAnother: a taken port names who holds it, as far as tshx may
// know.
func TestPortHeldByAnother(t *testing.T) {
	needRoot(t)
	nothingLeft(t)
	for _, listen := range []string{"127.0.0.1:0", "[::]:0"} {
		t.Run(listen, func(t *testing.T) {
			holder, pid, _ := otherUser{Network: "tcp", Addr: listen, Listen: true}.start(t, uidNobody)
			_, port, err := net.SplitHostPort(holder.Addr)
			check(t, err)
			for _, tt := range []struct {
				uid       int
				flag, val string
				says      string
			}{
				{uidRoot, "--port", port, fmt.Sprintf(`in use by \S+ \(pid %d, user nobody\); .*--port`, pid)},
				{uidStranger, "--port", port, `in use by a process of user nobody; .*--port`},
				// Its own port is not left to somebody else either.
				{uidStranger, "--port-range", port + "-" + port, `in use by a process of user nobody; .*--port, .*--port-range`},
			} {
				p := startAs(t, tt.uid, loginOf(t, tt.uid), "proxy", "app", "echo", tt.flag, tt.val)
				if code := p.wait(); code != 1 {
					t.Errorf("exit code %d, want 1", code)
				}
				oneLine(t, p.stderr.String(), tt.says)
			}
		})
	}
}
