//go:build linux

package integration

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/lab"
	"tshx/internal/proxyserver"
)

// recovery is what is promised: new connections work as long after the last part
// of the way is back. The rest is for a busy machine; the tests of package
// reversetunnel have the promise by itself, and a time that is not the machine's.
const recovery = (5 + 15) * time.Second

// load is connections that carry bytes all the time, and how they end.
type load struct {
	t     *testing.T
	ended chan error // one for each connection; nil for one that looks complete
	n     int
}

// busy opens n connections to the fast service behind addr, and returns when bytes
// come by all of them. They are not written to: only who reads alone can tell a
// reset from an end for sure.
func busy(t *testing.T, addr string, n int) *load {
	t.Helper()
	l := &load{t: t, ended: make(chan error, n), n: n}
	for range n {
		c := dial(t, addr)
		if err := binary.Write(c, binary.BigEndian, int64(1<<50)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
			t.Fatalf("before anything has happened: %v", err)
		}
		go func() { _, err := io.Copy(io.Discard, c); c.Close(); l.ended <- err }()
	}
	return l
}

// broken waits for all connections, none of which may look complete.
func (l *load) broken() {
	l.t.Helper()
	for range l.n {
		select {
		case err := <-l.ended:
			if err == nil {
				l.t.Error("a connection that was cut looks complete")
			}
		case <-time.After(patience):
			l.t.Fatal("a connection that was cut is still open")
		}
	}
}

// recovers wants a new connection to work in time, counted from now.
func recovers(t *testing.T, addr string) {
	t.Helper()
	start := time.Now()
	if !eventually(recovery, func() bool { return works(addr) }) {
		t.Errorf("nothing works %v after all is back", time.Since(start))
	}
	t.Logf("works again after %v", time.Since(start).Round(time.Millisecond))
}

func TestAgentKilled(t *testing.T) {
	nothingLeft(t)
	c := agentModern.get(t)
	a := c.agent(t, c.direct)
	tr := c.loginTo(t, c.direct)
	addr := tr.app(t, "echo")
	l := busy(t, tr.app(t, "fast"), 10)
	a.signal(syscall.SIGKILL)
	l.broken()
	if works(addr) {
		t.Error("it works without an agent")
	}
	next := c.agent(t, c.direct)
	recovers(t, addr)
	next.drained()
}

func TestAgentBalancerKilled(t *testing.T) {
	nothingLeft(t)
	c := agentModern.get(t)
	first := c.front(t, peer.Balancer.HAProxyHTTP)
	board := newSwitchboard(t, first.Addr)
	a := c.agent(t, board.addr)
	tr := c.loginTo(t, c.direct)
	addr := tr.app(t, "echo")
	l := busy(t, tr.app(t, "fast"), 10)
	syscall.Kill(first.Pid(), syscall.SIGKILL)
	l.broken()
	board.to(c.front(t, peer.Balancer.HAProxyHTTP).Addr)
	recovers(t, addr)
	a.drained()
}

// TestAgentProxyKilled kills the proxy itself, a process of its own. Its next one
// has other authorities, and writes the identities anew.
func TestAgentProxyKilled(t *testing.T) {
	nothingLeft(t)
	echo, fast := services["echo"].get(t), services["fast"].get(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	config := file("lab.yaml", "apps: [{name: echo, uri: \"tcp://\", agent: true}, {name: fast, uri: \"tcp://\", agent: true}]\n")
	agentConfig := file("agent.yaml", fmt.Sprintf("apps: [{name: echo, uri: \"tcp://%s\"}, {name: fast, uri: \"tcp://%s\"}]\n", echo.addr, fast.addr))
	port, err := peer.FreePort()
	check(t, err)
	proxy := fmt.Sprintf("127.0.0.1:%d", port)
	up := func() *program {
		p := launch(t, options{}, labPath.get(t), "up", "--config", config, "--dir", filepath.Join(dir, "lab"), "--listen", proxy)
		p.lineAfter("ready: ")
		return p
	}
	p := up()
	a := runAgent(t, agentConfig, filepath.Join(dir, "lab", "agent"))
	tr := &transport{home: filepath.Join(dir, "lab", "home"), caFile: filepath.Join(dir, "lab", "ca.pem")}
	l := busy(t, tr.app(t, "fast"), 10)
	p.signal(syscall.SIGKILL)
	l.broken()
	<-p.done
	p = up()
	recovers(t, tr.app(t, "echo"))
	a.drained()
	p.drained()
}

// TestAgentsTwo: of two agents one may go at any time, and nobody who comes then
// notices.
func TestAgentsTwo(t *testing.T) {
	nothingLeft(t)
	c := agentModern.get(t)
	addr := c.loginTo(t, c.direct).app(t, "echo")
	a, b := c.agent(t, c.direct), c.agent(t, c.direct)
	for range 20 {
		if !works(addr) {
			t.Fatal("no echo with two agents")
		}
	}
	a.signal(syscall.SIGKILL)
	for i := range 20 {
		if !works(addr) {
			t.Fatalf("connection %d after the end of one agent does not work", i)
		}
	}
	b.drained()
}

// TestAgentLeaves: an agent that is told to end lets what it carries come to its
// end, and its successor has what is new.
func TestAgentLeaves(t *testing.T) {
	nothingLeft(t)
	c := agentModern.get(t)
	addr := c.loginTo(t, c.direct).app(t, "echo")
	a := c.agent(t, c.direct)
	old := dial(t, addr)
	if !echoed(old) {
		t.Fatal("no echo")
	}
	b := c.agent(t, c.direct)
	a.signal(syscall.SIGTERM)
	for range 20 {
		if !works(addr) {
			t.Fatal("a new connection does not work")
		}
	}
	if !echoed(old) {
		t.Error("the old connection was cut")
	}
	old.CloseWrite()
	if rest, err := io.ReadAll(old); err != nil || len(rest) > 0 {
		t.Errorf("the old connection ended with %q, %v", rest, err)
	}
	old.Close()
	if code := a.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	b.drained()
}

// TestAgentReplacesTunnel: a proxy may ask its agents to make new tunnels while
// they are busy.
func TestAgentReplacesTunnel(t *testing.T) {
	nothingLeft(t)
	c := agentModern.get(t)
	a := c.agent(t, c.direct)
	tr := c.loginTo(t, c.direct)
	addr, echo := tr.app(t, "bulk"), tr.app(t, "echo")
	done := make(chan error, 1)
	conn := dial(t, addr)
	go func() { done <- bulk(conn, 64<<20, 64<<20) }()
	for range 5 {
		c.lab.Proxy.DrainAgents()
		if !works(echo) {
			t.Error("a new connection does not work while the tunnel is replaced")
		}
	}
	if err := <-done; err != nil {
		t.Errorf("what was under way: %v", err)
	}
	a.drained()
}

// TestAgentDiscovery: an agent that knows one address of two proxies has a tunnel
// to each, and clients may come to either.
func TestAgentDiscovery(t *testing.T) {
	nothingLeft(t)
	l, err := lab.Start(context.Background(), lab.Config{Cluster: "pair.tshx.test", User: account.User,
		Apps: []lab.App{{Name: "echo", URI: "tcp://", Agent: true}}})
	check(t, err)
	t.Cleanup(func() { l.Close() })
	second, err := proxyserver.New(proxyserver.Options{Authority: l.Authority, PublicAddr: "localhost:443",
		Apps: []proxyserver.App{{Name: "echo", URI: "tcp://"}}, Peers: []string{l.Proxy.ID()}})
	check(t, err)
	t.Cleanup(func() { second.Close() })
	l.Proxy.SetPeers([]string{second.ID()})
	secondAddr := serve(t, func(c *net.TCPConn) { second.ServeConn(c) })
	boards := []*switchboard{newSwitchboard(t, loopback(l.Addr)), newSwitchboard(t, secondAddr)}
	var turn atomic.Int64
	both := serve(t, func(c *net.TCPConn) { boards[turn.Add(1)/3%2].carry(c) }) // in no fair way
	echo, err := services["echo"].load()
	check(t, err)
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.yaml")
	check(t, os.WriteFile(config, fmt.Appendf(nil, "apps: [{name: echo, uri: \"tcp://%s\"}]\n", echo.addr), 0o600))
	check(t, l.WriteAgent(filepath.Join(dir, "id"), at("localhost", both)))
	check(t, l.WriteWebCA(filepath.Join(dir, "ca.pem")))
	a := runAgent(t, config, filepath.Join(dir, "id"))
	served := func(s *proxyserver.Server) func() bool {
		return func() bool { r := s.Resources(); return len(r) == 1 && r[0].Agents == 1 }
	}
	for _, s := range []*proxyserver.Server{l.Proxy, second} {
		if !eventually(patience, served(s)) {
			t.Fatalf("no tunnel to one of the proxies: %+v", s.Resources())
		}
	}
	for i, addr := range []string{l.Addr, secondAddr} {
		home := filepath.Join(dir, fmt.Sprint("home", i))
		check(t, l.WriteHome(home, at("localhost", addr), lab.HomeOptions{}))
		tr := &transport{home: home, caFile: filepath.Join(dir, "ca.pem")}
		if !works(tr.app(t, "echo")) {
			t.Errorf("no echo through proxy %d", i)
		}
	}
	a.drained()
}
