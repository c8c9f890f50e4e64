//go:build linux

package integration

import (
	"regexp"
	"syscall"
	"testing"
	"time"

	"tshx/internal/lab"
)

// TestKubeRelogin: kubectl tells what has expired and how to renew it, and works
// again after that, without a restart of tshx. What runs on meanwhile is not cut.
func TestKubeRelogin(t *testing.T) {
	expired := regexp.MustCompile(`kube cluster "demo" certificate expired .* ago.*; run: tsh kube login demo`)
	calls := [][]string{{"get", "namespace", "default"}, {"version"}, {"exec", kubernetes.get(t).Pod, "--", "true"}, {"get", "--raw", "/readyz"}}
	for _, name := range []string{"raw", "websocket nginx", "legacy nginx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			way := kubeTransport(t, name)
			c := kubeClusterOf(t, way)
			tr, err := c.login(way.addr, lab.HomeOptions{})
			check(t, err)
			p := launch(t, tr.options(), tshxPath, "proxy", "kube", kubeDemo)
			s := kubeSession{transport: tr, config: p.lineAfter("kubeconfig: ")}
			began := time.Now()
			s.run(t, "get", "namespace", "default")
			stream := s.start(t, "get", "namespaces", "--watch", "-o", "name")
			stream.sees("namespace/default")

			for range 2 {
				check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{TTL: -time.Hour, FreshKey: true}))
				for _, args := range calls {
					k := s.start(t, args...)
					if code := k.wait(); code != 1 || !expired.MatchString(k.stderr.String()) {
						t.Errorf("kubectl %q: exit code %d, said %q", args, code, k.stderr.String())
					}
				}
				check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{FreshKey: true}))
				for _, args := range calls {
					s.run(t, args...)
				}
			}
			if stream.ended() {
				t.Errorf("the watch has ended: %s", stream.stderr.String())
			}
			stream.signal(syscall.SIGTERM)
			stream.wait()
			p.end()
			oncePerWhile(t, p, began, expired.String())
		})
	}
}

// TestKubeNewCertificate: a certificate that replaces one that is still valid is
// used from the next request on.
func TestKubeNewCertificate(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	c := kubeModern.get(t)
	tr, err := c.login(at("localhost", c.direct), lab.HomeOptions{})
	check(t, err)
	s, _ := kubeProxy(t, tr, kubeDemo)
	for _, user := range []string{"bob", "carol", "dave"} {
		check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{KubeUsers: []string{user}}))
		if got := whoami(t, s.run(t, "auth", "whoami", "-o", "json")); got.Username != user {
			t.Errorf("%s is still %s", user, got.Username)
		}
	}
}

// kubeClusterOf is the cluster that a transport leads to.
func kubeClusterOf(t testing.TB, tr *transport) *cluster {
	t.Helper()
	for _, c := range []*shared[*cluster]{kubeModern, kubeOld} {
		if c := c.get(t); c.config.Cluster == tr.cluster {
			return c
		}
	}
	t.Fatalf("no cluster %q", tr.cluster)
	return nil
}
