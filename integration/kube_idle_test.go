//go:build linux

package integration

import (
	"fmt"
	"testing"
	"time"

	"tshx/internal/lab"
)

// TestKubeIdle: pings keep quiet streams alive behind a balancer that cuts them.
// Without pings the same balancer does cut.
func TestKubeIdle(t *testing.T) {
	// Many pings for each cut: a machine that is busy for a moment loses a few.
	const cut, ping = 3 * time.Second, 200 * time.Millisecond
	idle := share(func() (*cluster, error) {
		return startKubeCluster(lab.Config{Cluster: "idlekube.tshx.test", PingInterval: ping})
	})
	start := func(t *testing.T, c *cluster) kubeSession {
		plan, err := c.balancer(c.direct)
		check(t, err)
		plan.Idle = cut
		balancer, err := plan.HAProxyHTTP()
		check(t, err)
		t.Cleanup(balancer.Close)
		tr, err := c.login(at("localhost", balancer.Addr), lab.HomeOptions{})
		check(t, err)
		p := launch(t, tr.options(), tshxPath, "proxy", "kube", kubeDemo)
		return kubeSession{transport: tr, config: p.lineAfter("kubeconfig: ")}
	}
	t.Run("pings", func(t *testing.T) {
		t.Parallel()
		need(t, "haproxy")
		nothingLeft(t)
		s := start(t, idle.get(t))
		name := objectName(t)
		s.fed(t, configMap(name, "first"), "apply", "-f", "-")
		watch := s.start(t, "get", "configmap", name, "--watch", "-o", `jsonpath={.data.word}{"\n"}`)
		watch.sees("first")
		in, keys := pipe(t)
		o := s.options(t)
		o.stdin = in
		cat := s.startWith(t, o, "exec", "-i", kubernetes.get(t).Pod, "--", "cat")
		fmt.Fprintln(keys, "first")
		cat.sees("first")

		time.Sleep(3 * cut)
		s.fed(t, configMap(name, "second"), "apply", "-f", "-")
		watch.sees("second")
		fmt.Fprintln(keys, "second")
		cat.sees("second")
	})
	t.Run("no pings", func(t *testing.T) {
		t.Parallel()
		need(t, "haproxy")
		nothingLeft(t)
		s := start(t, kubeModern.get(t))
		in, keys := pipe(t)
		o := s.options(t)
		o.stdin = in
		cat := s.startWith(t, o, "exec", "-i", kubernetes.get(t).Pod, "--", "cat")
		fmt.Fprintln(keys, "first")
		cat.sees("first")
		if code := cat.wait(); code == 0 {
			t.Error("a stream that was cut looks complete")
		}
	})
}
