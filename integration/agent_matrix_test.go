//go:build linux

package integration

import (
	"io"
	"strings"
	"sync"
	"testing"

	"tshx/integration/peer"
)

// agentWays are the ways from an agent to its proxy.
var agentWays = []struct {
	name    string
	cluster *shared[*agentCluster]
	front   func(peer.Balancer) (*peer.Server, error)
}{
	{"raw", agentModern, nil},
	{"websocket nginx", agentModern, peer.Balancer.Nginx},
	{"websocket haproxy", agentModern, peer.Balancer.HAProxyHTTP},
	{"legacy nginx", agentOld, peer.Balancer.Nginx},
	{"layer 4", agentModern, peer.Balancer.HAProxyTCP},
}

// TestAgentMatrix: what the proxy cannot reach is served by an agent, on each way
// to the proxy, for clients that come directly or through a balancer.
func TestAgentMatrix(t *testing.T) {
	for _, w := range agentWays {
		t.Run(w.name, func(t *testing.T) {
			nothingLeft(t)
			c := w.cluster.get(t)
			addr := c.direct
			if w.front != nil {
				addr = c.front(t, w.front).Addr
			}
			a := c.agent(t, addr)
			t.Run("direct", func(t *testing.T) { agentCarries(t, c, c.direct) })
			t.Run("upgraded", func(t *testing.T) { agentCarries(t, c, c.front(t, peer.Balancer.Nginx).Addr) })
			a.drained()
		})
	}
}

// agentCarries runs every kind of resource for a client at addr.
func agentCarries(t *testing.T, c *agentCluster, addr string) {
	tr := c.loginTo(t, addr)
	t.Run("bulk", func(t *testing.T) {
		if err := bulk(dial(t, tr.app(t, "bulk")), 64<<20, 64<<20); err != nil {
			t.Error(err)
		}
	})
	t.Run("half-close", func(t *testing.T) { agentHalfClose(t, tr) })
	t.Run("torn", func(t *testing.T) {
		conn := dial(t, tr.app(t, "torn"))
		io.WriteString(conn, "?")
		if n, err := io.Copy(io.Discard, conn); err == nil || n > torn {
			t.Errorf("after %d bytes of %d: %v, want a reset", n, torn, err)
		}
	})
	t.Run("fifty at once", func(t *testing.T) { agentFifty(t, tr) })
	t.Run("ssh", func(t *testing.T) { sshSession(t, tr) })
	t.Run("redis", func(t *testing.T) {
		need(t, "redis-cli")
		addr := launch(t, tr.options(), tshxPath, "proxy", "db", "cache", "--tunnel").lineAfter("address: ")
		_, port, _ := strings.Cut(addr, ":")
		if got := execute(t, options{}, "redis-cli", "-p", port, "ping"); got != "PONG\n" {
			t.Errorf("redis answers %q", got)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		need(t, "psql")
		o := tr.options()
		o.input = "select 6*7"
		p := launch(t, o, tshxPath, "db", "connect", "pg")
		if code := p.wait(); code != 0 || !strings.Contains(p.stdout.String(), "42") {
			t.Errorf("exit code %d: %s", code, p.stdout.String())
		}
	})
	t.Run("http", func(t *testing.T) {
		url := "http://" + launch(t, tr.options(), tshxPath, "proxy", "app", agentHello).lineAfter("address: ")
		for range 3 {
			if got := execute(t, options{}, "curl", "-sSf", url); !strings.Contains(got, `"agent"`) {
				t.Errorf("the app answers %q", got)
			}
		}
	})
	t.Run("kubectl", func(t *testing.T) {
		need(t, "kubectl")
		if _, err := kubernetes.load(); err != nil {
			check(t, err)
		}
		o := tr.options()
		o.env = append(o.env, "PATH="+peer.Path(), "KUBECONFIG="+t.TempDir()+"/config")
		execute(t, o, tshxPath, "kube", "login", kubeDemo)
		if got := execute(t, o, tshxPath, "kubectl", "get", "namespaces"); !strings.Contains(got, "kube-system") {
			t.Errorf("kubectl says %q", got)
		}
	})
}

func agentHalfClose(t *testing.T, tr *transport) {
	conn := dial(t, tr.app(t, "polite"))
	if got, err := io.ReadAll(conn); err != nil || string(got) != farewell {
		t.Errorf("the server said %q, %v", got, err)
	}
	const last = "but I have one thing more"
	io.WriteString(conn, last)
	conn.CloseWrite()
	if got := heardPolitely(t); got != last {
		t.Errorf("the server heard %q", got)
	}
}

// agentFifty has fifty connections open, all at once.
func agentFifty(t *testing.T, tr *transport) {
	addr := tr.app(t, "echo")
	var wg, all sync.WaitGroup
	all.Add(50)
	for range 50 {
		conn := dial(t, addr)
		wg.Go(func() {
			ok := echoed(conn)
			all.Done()
			all.Wait()
			if !ok || !echoed(conn) {
				t.Error("no echo")
			}
		})
	}
	wg.Wait()
}
