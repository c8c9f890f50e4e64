//go:build linux

package integration

import (
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// TestKeepAlive: quiet connections outlive balancers that cut after 15 s, with a
// proxy that pings every 30 s only, as real ones do. What keeps them alive comes
// from tshx.
func TestKeepAlive(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 17 s")
	}
	const cut = 15 * time.Second
	for _, tt := range []struct {
		name    string
		cluster *shared[*cluster]
		front   func(peer.Balancer) (*peer.Server, error)
	}{
		{"raw, ping framing, haproxy tcp", modern, peer.Balancer.HAProxyPass},
		{"websocket, nginx", modern, peer.Balancer.Nginx},
		{"websocket, haproxy", modern, peer.Balancer.HAProxyHTTP},
		{"legacy, nginx", old, peer.Balancer.Nginx},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := tt.cluster.get(t)
			plan, err := c.balancer(c.direct)
			check(t, err)
			plan.Idle = cut
			s, err := tt.front(plan)
			check(t, err)
			t.Cleanup(s.Close)
			tr, err := c.login(at("localhost", s.Addr), lab.HomeOptions{})
			check(t, err)
			conn := dial(t, tr.start(t, "proxy", "app", "echo").lineAfter("address: "))
			answers(t, conn)
			time.Sleep(cut + 2*time.Second)
			answers(t, conn)
			conn.Close()
		})
	}
}
