//go:build linux

package integration

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tshx/integration/peer"
)

// TestAgentBlackHole: between agent and proxy nothing gets through any more, and
// nobody says so. What is open breaks, and soon after the network is back new
// connections work.
func TestAgentBlackHole(t *testing.T) {
	const (
		// To the second it is told by the tests of package reversetunnel, whose time is
		// not the machine's. TCP by itself would take a quarter of an hour.
		promise = 8 * time.Second  // without a sign of life
		grace   = 12 * time.Second // of a busy machine
		outage  = 15 * time.Second
	)
	for name, target := range map[string]func(*testing.T, *agentCluster) string{
		"raw":      func(_ *testing.T, c *agentCluster) string { return c.direct },
		"upgraded": func(t *testing.T, c *agentCluster) string { return c.front(t, peer.Balancer.HAProxyHTTP).Addr },
	} {
		t.Run(name, func(t *testing.T) {
			nothingLeft(t)
			c := agentModern.get(t)
			l := newLink(t, 0)
			l.hosts(map[string]string{"localhost": serverEnd})
			dir := t.TempDir()
			check(t, c.lab.WriteAgent(filepath.Join(dir, "id"), at("localhost", l.forward(target(t, c)))))
			config := filepath.Join(dir, "agent.yaml")
			check(t, os.WriteFile(config, fmt.Appendf(nil, "apps: [{name: echo, uri: \"tcp://%s\"}]\n", l.forward(services["echo"].get(t).addr)), 0o600))
			a := launch(t, options{}, "ip", "netns", "exec", l.ns, labPath.get(t), "agent", "--config", config, "--identity", filepath.Join(dir, "id"))
			a.lineAfter("ready: ")
			addr := c.loginTo(t, c.direct).app(t, "echo")
			open := dial(t, addr)
			answers(t, open)

			l.severed.Store(true)
			start := time.Now()
			open.SetReadDeadline(start.Add(patience))
			_, err := open.Read(make([]byte, 1))
			took := time.Since(start)
			t.Logf("broken after %v: %v", took.Round(time.Millisecond), err)
			if err == nil || err == io.EOF || took > promise+grace {
				t.Errorf("%v after %v, want an error after %v", err, took, promise)
			}
			time.Sleep(outage - took) // for tries that get nowhere
			l.severed.Store(false)
			recovers(t, addr)
			a.drained()
		})
	}
}
