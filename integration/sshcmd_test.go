//go:build linux

package integration

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// nodeID is the name of a node that people know by its id.
const nodeID = "0f2a6d5e-3c1b-4e7a-9a54-5b8d0c9e1f23"

// sshNodes start a cluster with nodes only: node1 and nodeID are one OpenSSH
// server, node2 is another, and impostor has a host key of no authority.
func sshNodes(name, behave string) *shared[*cluster] {
	return share(func() (*cluster, error) {
		c := lab.Config{Cluster: name, Behave: behave, User: account.User, Logins: []string{osUser(), account.User}}
		boards := map[string]*switchboard{}
		for _, node := range []string{"node1", "node2", "impostor", nodeID} {
			var err error
			if boards[node], err = startSwitchboard(""); err != nil {
				return nil, err
			}
			c.Nodes = append(c.Nodes, lab.Node{Name: node, Addr: boards[node].addr})
		}
		l, err := lab.Start(context.Background(), c)
		if err != nil {
			return nil, err
		}
		atExit(func() { l.Close() })
		first, err := startNode(l.Authority, "node1", "node1."+name, nodeID, nodeID+"."+name)
		if err != nil {
			return nil, err
		}
		boards["node1"].to(first.Addr)
		boards[nodeID].to(first.Addr)
		second, err := startNode(l.Authority, "node2", "node2."+name)
		if err != nil {
			return nil, err
		}
		boards["node2"].to(second.Addr)
		strange, err := lab.Start(context.Background(), lab.Config{Cluster: name, Behave: behave})
		if err != nil {
			return nil, err
		}
		authority := *strange.Authority
		strange.Close()
		authority.SSHUser = l.Authority.SSHUser
		third, err := startNode(&authority, "impostor", "impostor."+name)
		if err != nil {
			return nil, err
		}
		boards["impostor"].to(third.Addr)
		cl := &cluster{lab: l, config: c, direct: loopback(l.Addr)}
		return cl, cl.writeCA()
	})
}

var (
	sshModern = sshNodes("ssh.tshx.test", "v17")
	sshOld    = sshNodes("oldssh.tshx.test", "v14")
)

// sshWays are the ways that `tshx ssh` is tested on.
var sshWays = []named{
	{"raw", "raw", share(way{cluster: sshModern}.build)},
	{"websocket nginx", "websocket", share(way{cluster: sshModern, front: peer.Balancer.Nginx}.build)},
	{"legacy nginx", "legacy", share(way{cluster: sshOld, front: peer.Balancer.Nginx}.build)},
	{"layer 4", "websocket", share(way{cluster: sshModern, front: peer.Balancer.HAProxyTCP}.build)},
}

// sshSide is a user at one of sshWays.
type sshSide struct {
	*transport
	o options
	// config is the user's own configuration, which `-F` names.
	config string
	// second is where node2 listens, as node1 sees it.
	second string
}

func newSSHSide(t testing.TB, tt named) *sshSide {
	t.Helper()
	need(t, "ssh", "sshd")
	own := *tt.get(t)
	tr := &own
	dir := t.TempDir()
	c := sshModern
	if tt.way == "legacy" {
		c = sshOld
	}
	s := &sshSide{transport: tr, o: tr.options(), config: filepath.Join(dir, "ssh config")}
	s.o.env = append(s.o.env, "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	for _, n := range c.get(t).config.Nodes {
		if n.Name == "node2" {
			s.second = n.Addr
		}
	}
	host, port, _ := net.SplitHostPort(s.second)
	// The second node by a name that is known here and nowhere else, and what
	// makes OpenSSH independent of the machine.
	s.write(t, fmt.Sprintf("Host inner\n    HostName %s\n    Port %s\n    HostKeyAlias node2\nHost *\n    User %s\n", host, port, osUser()))
	return s
}

// write makes text, and what keeps OpenSSH from asking, the user's configuration.
func (s *sshSide) write(t testing.TB, text string) {
	t.Helper()
	check(t, os.WriteFile(s.config, []byte(text+`
Host *
    BatchMode yes
    IdentityAgent none
    UserKnownHostsFile /dev/null
    ConnectTimeout 30
`), 0o600))
}

// argv is a command line of `tshx ssh`, or of its siblings.
func (s *sshSide) argv(word string, args ...string) []string {
	return append([]string{tshxPath, word, "-F", s.config}, args...)
}

// shell is the same for programs that take one to reach other machines.
func (s *sshSide) shell() string { return fmt.Sprintf("%s ssh -F '%s'", tshxPath, s.config) }

// sshUses are what people do with OpenSSH.
var sshUses = []struct {
	name string
	run  func(t *testing.T, s *sshSide)
}{
	{"command", func(t *testing.T, s *sshSide) {
		for _, node := range []string{"node1", "node1." + s.cluster, osUser() + "@node2", "ssh://node1", nodeID, "NODE1"} {
			o := s.o
			o.input = "a line in\n"
			p := launch(t, o, s.argv("ssh", node, "cat; echo a line out; echo another >&2; exit 7")...)
			if code := p.wait(); code != 7 {
				t.Errorf("%s: exit code %d, want the command's: 7", node, code)
			}
			if got, want := p.stdout.String(), "a line in\na line out\n"; got != want {
				t.Errorf("%s: got %q, want %q", node, got, want)
			}
			if got := p.stderr.String(); got != "another\n" {
				t.Errorf("%s: standard error: %q", node, got)
			}
		}
	}},
	{"64 MiB", sshBytes},
	{"terminal", sshTerminal},
	{"flags of tsh", func(t *testing.T, s *sshSide) {
		got := execute(t, s.o, s.argv("ssh", "--cluster="+s.cluster, "--proxy", s.addr, "--login="+osUser(), "node1", "--option", "RemoteCommand=id -un")...)
		if got != osUser()+"\n" {
			t.Errorf("got %q", got)
		}
	}},
	{"forwarded port", sshPort},
	{"jump", func(t *testing.T, s *sshSide) {
		for _, args := range [][]string{
			{"-J", "node1", "inner"},
			{"-J", osUser() + "@node2." + s.cluster + ",inner", "inner"},
			{"-oProxyJump=node1", "inner"},
		} {
			host, port, _ := net.SplitHostPort(s.second)
			p := launch(t, s.o, s.argv("ssh", append(args, "echo $SSH_CONNECTION; exit 5")...)...)
			if code := p.wait(); code != 5 || p.stderr.String() != "" {
				t.Errorf("%q: exit code %d, said %q", args, code, p.stderr.String())
			}
			if f := strings.Fields(p.stdout.String()); len(f) != 4 || f[2] != host || port == "" {
				t.Errorf("%q: got %q", args, p.stdout.String())
			}
		}
	}},
	{"scp", func(t *testing.T, s *sshSide) {
		for _, flags := range [][]string{nil, {"-O"}} {
			there, back := copies(t)
			execute(t, s.o, s.argv("scp", append(slices.Clone(flags), "-q", there.from, "node1:"+there.to)...)...)
			execute(t, s.o, s.argv("scp", append(slices.Clone(flags), "-q", osUser()+"@node1."+s.cluster+":"+back.from, back.to)...)...)
			there.compare(t)
			back.compare(t)
		}
	}},
	{"scp between nodes", func(t *testing.T, s *sshSide) {
		there, back := copies(t)
		execute(t, s.o, s.argv("scp", "-3q", "node1:"+there.from, "node2:"+there.to)...)
		execute(t, s.o, s.argv("scp", "-q", "node2:"+back.from, "node1:"+back.to)...)
		there.compare(t)
		back.compare(t)
	}},
	{"scp of directories", func(t *testing.T, s *sshSide) {
		from, to := filepath.Join(t.TempDir(), "a % 'dir'"), filepath.Join(t.TempDir(), "to")
		check(t, os.MkdirAll(filepath.Join(from, "within"), 0o755))
		check(t, os.WriteFile(filepath.Join(from, "within", "file"), []byte("text"), 0o600))
		execute(t, s.o, s.argv("scp", "-rq", from, "node1:"+to)...)
		if got, err := os.ReadFile(filepath.Join(to, "within", "file")); err != nil || string(got) != "text" {
			t.Errorf("got %q, %v", got, err)
		}
	}},
	{"sftp", func(t *testing.T, s *sshSide) {
		there, back := copies(t)
		o := s.o
		o.input = fmt.Sprintf("put %s %s\nget %s %s\n", there.from, there.to, back.from, back.to)
		execute(t, o, s.argv("sftp", "-q", "-b", "-", "node1")...)
		there.compare(t)
		back.compare(t)
	}},
	{"rsync", func(t *testing.T, s *sshSide) {
		need(t, "rsync")
		there, back := copies(t)
		execute(t, s.o, "rsync", "-e", s.shell(), there.from, "node1:"+there.to)
		execute(t, s.o, "rsync", "-e", s.shell(), osUser()+"@node1:"+back.from, back.to)
		there.compare(t)
		back.compare(t)
	}},
	{"git", func(t *testing.T, s *sshSide) {
		need(t, "git")
		repo, clone := filepath.Join(t.TempDir(), "repo"), filepath.Join(t.TempDir(), "clone")
		execute(t, s.o, "git", "init", "-q", repo)
		execute(t, s.o, "git", "-C", repo, "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "--allow-empty", "-m", "the only one")
		o := s.o
		o.env = append(slices.Clone(o.env), "GIT_SSH_COMMAND="+s.shell())
		execute(t, o, "git", "clone", "-q", "ssh://"+osUser()+"@node1"+repo, clone)
		if got := execute(t, s.o, "git", "-C", clone, "log", "--format=%s"); got != "the only one\n" {
			t.Errorf("the clone has %q", got)
		}
	}},
	{"shared connection", sshShared},
}

// TestSSHCommand runs `tshx ssh`, `tshx scp` and `tshx sftp` against OpenSSH
// servers on every way to the proxy.
func TestSSHCommand(t *testing.T) {
	for _, tt := range sshWays {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, u := range sshUses {
				t.Run(u.name, func(t *testing.T) {
					t.Parallel()
					nothingLeft(t)
					u.run(t, newSSHSide(t, tt))
				})
			}
		})
	}
}

// sshBytes sends many bytes to a command and gets them back.
func sshBytes(t *testing.T, s *sshSide) {
	const size = 64 << 20
	path := filepath.Join(t.TempDir(), "bytes")
	f, err := os.Create(path)
	check(t, err)
	defer f.Close()
	sent := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, sent), rand.Reader, size)
	check(t, err)
	_, err = f.Seek(0, io.SeekStart)
	check(t, err)
	back, err := os.Create(path + ".back")
	check(t, err)
	defer back.Close()
	o := s.o
	o.stdin, o.stdout = f, back
	if p := launch(t, o, s.argv("ssh", "node1", "cat")...); p.wait() != 0 {
		t.Fatalf("cat failed: %s", p.stderr.String())
	}
	_, err = back.Seek(0, io.SeekStart)
	check(t, err)
	got := sha256.New()
	n, err := io.Copy(got, back)
	if err != nil || n != size || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Errorf("%d of %d bytes came back, %v, or they differ", n, size, err)
	}
}

// sshTerminal types at a shell on the node, as people do: the terminal's size
// gets there, an interrupt ends a command and not the session, and the exit code
// comes back.
func sshTerminal(t *testing.T, s *sshSide) {
	terminal, tty, err := pty.Open()
	check(t, err)
	defer terminal.Close()
	check(t, pty.Setsize(tty, &pty.Winsize{Rows: 33, Cols: 77}))
	var screen output
	go io.Copy(&screen, terminal)
	o := s.o
	o.stdin, o.stdout = tty, tty
	need(t, "setsid")
	p := launch(t, o, append([]string{"setsid", "--ctty"}, s.argv("ssh", "-t", "node1", "/bin/sh")...)...)
	tty.Close()
	see := func(what string) {
		t.Helper()
		if !eventually(patience, func() bool { return strings.Contains(screen.String(), what) || p.ended() }) || p.ended() {
			t.Fatalf("no %q on the screen: %q %s", what, screen.String(), p.stderr.String())
		}
	}
	io.WriteString(terminal, "stty size; echo is$((1+1))up\n")
	see("33 77")
	see("is2up")
	io.WriteString(terminal, "echo st$((2+3))rts; sleep 1000\n")
	see("st5rts")
	check(t, pty.Setsize(terminal, &pty.Winsize{Rows: 44, Cols: 88}))
	io.WriteString(terminal, "\x03")
	io.WriteString(terminal, "until stty size | grep '44 88'; do :; done; exit 9\n")
	if code := p.wait(); code != 9 {
		t.Errorf("exit code %d, want the shell's: 9; on the screen: %q", code, screen.String())
	}
}

// sshPort sends bytes through a port that OpenSSH forwards, and ends it as
// people do.
func sshPort(t *testing.T, s *sshSide) {
	// A socket in a directory of our own cannot be taken by others, as a port can.
	socket := filepath.Join(t.TempDir(), "s")
	p := launch(t, s.o, s.argv("ssh", "-N", "-L", socket+":"+services["bulk"].get(t).addr, "node1")...)
	var c net.Conn
	up := func() bool {
		var err error
		c, err = net.Dial("unix", socket)
		return err == nil || p.ended()
	}
	if !eventually(patience, up) || p.ended() {
		t.Fatalf("ssh does not forward: %s", p.stderr.String())
	}
	defer c.Close()
	if err := bulk(c, 4<<20, 4<<20); err != nil {
		t.Error(err)
	}
	p.signal(syscall.SIGINT)
	p.wait()
	noneLeft(t)
}

// sshShared has one connection for several commands: the later ones need no
// login any more, and no other cluster gets to it.
func sshShared(t *testing.T, s *sshSide) {
	o := s.o
	runtime, err := os.MkdirTemp("", "run") // sockets have short names only
	check(t, err)
	defer os.RemoveAll(runtime)
	o.env = append(slices.Clone(o.env), "XDG_RUNTIME_DIR="+runtime)
	master := launch(t, o, s.argv("ssh", "-MN", "node1")...)
	ready := func() bool {
		p := launch(t, o, s.argv("ssh", "-O", "check", "node1")...)
		return p.wait() == 0 || master.ended()
	}
	if !eventually(patience, ready) || master.ended() {
		t.Fatalf("no shared connection: %s", master.stderr.String())
	}
	port := func(args ...string) string {
		return execute(t, o, append(s.argv("ssh", args...), "echo $SSH_CONNECTION")...)
	}
	first := port("node1")
	if second := port("node1"); second != first {
		t.Errorf("connections are not shared: %q and %q", first, second)
	}
	if other := port("node2"); other == first {
		t.Error("node2 was reached over the connection to node1")
	}
	if p := launch(t, o, s.argv("ssh", "-O", "exit", "node1")...); p.wait() != 0 {
		t.Errorf("the shared connection cannot be ended: %s", p.stderr.String())
	}
	master.wait()
	noneLeft(t)
}
