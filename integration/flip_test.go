//go:build linux

package integration

import (
	"io"
	"net"
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// TestBalancerFlip puts a balancer in front of a running proxy and takes it
// away again, on the same address. Either costs at most one connection, for a
// tshx that runs on and for one that is started anew.
func TestBalancerFlip(t *testing.T) {
	for _, tt := range []struct {
		name    string
		cluster *shared[*cluster]
		front   func(peer.Balancer) (*peer.Server, error)
	}{
		{"layer 7", modern, peer.Balancer.Nginx},
		{"layer 7 legacy", old, peer.Balancer.Nginx},
		{"layer 4", modern, peer.Balancer.HAProxyTCP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			need(t, "sshd")
			nothingLeft(t)
			c := tt.cluster.get(t)
			plan, err := c.balancer(c.direct)
			check(t, err)
			balancer, err := tt.front(plan)
			check(t, err)
			t.Cleanup(balancer.Close)
			board := newSwitchboard(t, c.direct)
			tr, err := c.login(at("localhost", board.addr), lab.HomeOptions{})
			check(t, err)
			p := launch(t, tr.options(), tshxPath, "proxy", "app", "echo")
			addr := p.lineAfter("address: ")
			for _, target := range []string{c.direct, balancer.Addr, c.direct, balancer.Addr} {
				board.to(target)
				if n := failures(t, addr); n > 1 {
					t.Errorf("running: %d connections failed after a change", n)
				}
				if n := failedStarts(t, tr); n > 1 {
					t.Errorf("started anew: %d connections failed after a change", n)
				}
			}
		})
	}
}

// failures makes some connections and counts those that do not work.
func failures(t testing.TB, addr string) int {
	n := 0
	for range 5 {
		c := dial(t, addr)
		io.WriteString(c, "hello")
		c.CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
			t.Logf("read %q, %v", got, err)
			n++
		}
		c.Close()
	}
	return n
}

// failedStarts starts tshx some times for a connection each.
func failedStarts(t testing.TB, tr *transport) int {
	n := 0
	for range 3 {
		p := launch(t, tr.options(), tshxPath, "proxy", "ssh", osUser()+"@node1:3022")
		if p.wait() != 0 {
			n++
		}
	}
	return n
}

// TestListenerLivesOn: one failed dial fails one connection, and the same
// reason is told once.
func TestListenerLivesOn(t *testing.T) {
	nothingLeft(t)
	broken := serve(t, func(c *net.TCPConn) {
		c.Read(make([]byte, 1<<10)) // so that it is always the same step that fails
		reset(c)
	})
	board := newSwitchboard(t, broken)
	tr := privateLogin(t, board.addr)
	p := launch(t, tr.options(), tshxPath, "proxy", "app", "echo")
	addr := p.lineAfter("address: ")
	began := time.Now()
	for range 3 {
		if n, err := io.Copy(io.Discard, dial(t, addr)); n != 0 {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	board.to(modern.get(t).direct)
	last := dial(t, addr)
	answers(t, last)
	last.Close()
	p.end()
	oncePerWhile(t, p, began, `application "echo" failed`)
}
