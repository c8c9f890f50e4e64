//go:build linux

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"tshx/internal/lab"
)

// TestWay: tshx takes the way that each transport is meant to have, so that
// the tests above test what they say, and `tshx status` tells it.
func TestWay(t *testing.T) {
	for _, tt := range transports {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			need(t, "sshd")
			tr := tt.get(t)
			execute(t, tr.options(), tshxPath, "proxy", "ssh", osUser()+"@node1:3022")
			var status struct {
				Active struct {
					Transport struct{ Way, Method, Evidence string }
				}
			}
			text := execute(t, tr.options(), tshxPath, "status", "--format", "json")
			if err := json.Unmarshal([]byte(text), &status); err != nil {
				t.Fatal(err)
			}
			got := status.Active.Transport
			if tt.way == "raw" && got.Way != "raw" || tt.way != "raw" && (got.Way != "upgrade" || got.Method != tt.way) {
				t.Errorf("took %+v, want %s", got, tt.way)
			}
			if got.Evidence == "" {
				t.Error("no evidence")
			}
		})
	}
}

// TestForcedWay: the environment decides alone.
func TestForcedWay(t *testing.T) {
	tr := raw(t)
	for _, tt := range []struct{ upgrade, mode, says string }{
		{"yes", "", "method=websocket"},
		{"yes", "legacy", "method=legacy"},
		{tr.addr + "=true;no", "", "method=websocket"},
		{"other.example.com:443=yes", "", "way=raw"},
	} {
		t.Run(tt.upgrade+" "+tt.mode, func(t *testing.T) {
			t.Parallel()
			o := tr.options()
			o.env = append(o.env, "TELEPORT_TLS_ROUTING_CONN_UPGRADE="+tt.upgrade, "TELEPORT_TLS_ROUTING_CONN_UPGRADE_MODE="+tt.mode)
			p := launch(t, o, tshxPath, "-d", "proxy", "app", "echo")
			answers(t, dial(t, p.lineAfter("address: ")))
			p.await(tt.says)
		})
	}
}

// TestRelogin: certificates are read anew, so that a running proxy survives
// their end.
func TestRelogin(t *testing.T) {
	nothingLeft(t)
	c := modern.get(t)
	tr := privateLogin(t, c.direct)
	p := launch(t, tr.options(), tshxPath, "proxy", "app", "echo")
	addr := p.lineAfter("address: ")
	answers(t, dial(t, addr))
	check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{TTL: -time.Hour}))
	if n, _ := io.Copy(io.Discard, dial(t, addr)); n != 0 {
		t.Errorf("%d bytes with an expired certificate", n)
	}
	p.await("expired")
	check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{FreshKey: true}))
	answers(t, dial(t, addr))
	oneLine(t, p.stderr.String(), `"echo" certificate expired .* ago.*tsh apps login echo`)
}

// TestIdle: pings keep quiet connections alive behind a balancer that cuts
// them. Without pings the same balancer does cut.
func TestIdle(t *testing.T) {
	// Many pings for each cut: a machine that is busy for a moment loses a few.
	const cut, ping = 3 * time.Second, 200 * time.Millisecond
	start := func(t *testing.T, c *cluster) *transport {
		plan, err := c.balancer(c.direct)
		check(t, err)
		plan.Idle = cut
		s, err := plan.HAProxyHTTP()
		check(t, err)
		t.Cleanup(s.Close)
		tr, err := c.login(at("localhost", s.Addr), lab.HomeOptions{})
		check(t, err)
		return tr
	}
	quiet := share(func() (*cluster, error) {
		return startCluster(lab.Config{Cluster: "idle.tshx.test", PingInterval: ping})
	})
	t.Run("app", func(t *testing.T) {
		t.Parallel()
		p := start(t, quiet.get(t)).start(t, "proxy", "app", "echo")
		c := dial(t, p.lineAfter("address: "))
		answers(t, c)
		time.Sleep(3 * cut)
		answers(t, c)
		c.Close()
	})
	t.Run("ssh", func(t *testing.T) {
		t.Parallel()
		need(t, "ssh", "sshd")
		tr := start(t, quiet.get(t))
		if got := execute(t, tr.options(), "ssh", "-F", sshConfig(t, tr), sshTarget(tr), fmt.Sprintf("sleep %g; echo still here", (3*cut).Seconds())); got != "still here\n" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("without pings", func(t *testing.T) {
		t.Parallel()
		p := launch(t, start(t, modern.get(t)).options(), tshxPath, "proxy", "app", "echo")
		c := dial(t, p.lineAfter("address: "))
		answers(t, c)
		c.SetReadDeadline(time.Now().Add(patience))
		if n, err := io.Copy(io.Discard, c); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}
