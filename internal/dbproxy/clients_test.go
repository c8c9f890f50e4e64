package dbproxy

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// needProgram returns the path of a client program. Without it the test is
// skipped, or fails on CI.
func needProgram(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// serve accepts connections on loopback for handle, which owns its connection,
// and returns the address. All have ended when the test has.
func serve(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	return serveAt(t, "tcp", "127.0.0.1:0", handle)
}

func serveAt(t testing.TB, network, addr string, handle func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); handle(c) })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// refusing returns the address of a listener that refuses every client of an
// engine.
func refusing(t testing.TB, e *Engine, tunnel bool, r Refusal) Endpoint {
	up := &Upstream{Engine: e, Database: "orders", Tunnel: tunnel}
	addr := serve(t, func(c net.Conn) { up.Refuse(c, r) })
	host, port, _ := net.SplitHostPort(addr)
	return Endpoint{Host: host, Port: port, User: "alice", Name: "0", Tunnel: tunnel}
}

// say runs a client program to its end, without the settings and the keyboard of
// whoever runs the test, and returns all it printed on one line.
func say(t testing.TB, args ...string) string {
	t.Helper()
	return sayWith(t, []string{"HOME=" + t.TempDir()}, args...)
}

func sayWith(t testing.TB, env []string, args ...string) string {
	t.Helper()
	path := needProgram(t, args[0])
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}, env...)
	out, _ := cmd.CombinedOutput() // how it ended is for the test to read in there
	if ctx.Err() != nil {
		t.Errorf("%s did not end", strings.Join(args, " "))
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// TestClientsFindEndpoints: the printed commands and the variables bring the
// real programs to the listener, over TCP and over unix sockets.
func TestClientsFindEndpoints(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		engine *Engine
		socket string
		more   []string // the program's arguments for one request
		byEnv  []string // the same where it reads variables; nil: it reads none
	}{
		{&postgres, filepath.Join(dir, ".s.PGSQL.5433"), []string{"-Xc", "select 1"}, []string{"-Xc", "select 1"}},
		{&mysql, filepath.Join(dir, "my sql"), []string{"-e", "select 1"}, []string{"--no-defaults", "-e", "select 1"}},
		{&redis, filepath.Join(dir, "redis"), []string{"get", "x"}, nil},
	} {
		up := &Upstream{Engine: tt.engine, Tunnel: true}
		refuse := func(c net.Conn) { up.Refuse(c, Refusal{Text: refusedText}) }
		serveAt(t, "unix", tt.socket, refuse)
		host, port, _ := net.SplitHostPort(serve(t, refuse))
		has := installed("mariadb", "psql", "redis-cli")
		for _, at := range []Endpoint{
			{Host: host, Port: port, User: "alice", Name: "0", Tunnel: true, Has: has},
			Endpoint{User: "alice", Name: "0", Tunnel: true, Has: has}.At(&net.UnixAddr{Name: tt.socket, Net: "unix"}),
		} {
			if trouble := tt.engine.Trouble(at); trouble != "" {
				t.Errorf("%s: %s", tt.engine.Title, trouble)
			}
			command := tt.engine.Command(at)
			if out := say(t, append(command, tt.more...)...); !strings.Contains(out, refusedText) {
				t.Errorf("%s says %q", Quote(command), out)
			}
			if tt.byEnv == nil {
				continue
			}
			env := append(tt.engine.Env(at), "HOME="+dir)
			if out := sayWith(t, env, append(command[:1:1], tt.byEnv...)...); !strings.Contains(out, refusedText) {
				t.Errorf("%s with %q says %q", command[0], env, out)
			}
		}
	}
}
