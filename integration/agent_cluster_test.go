//go:build linux

package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// labPath is tshx-lab, which the tests of agents run as people do.
var labPath = share(func() (string, error) {
	dir, err := tempDir("lab")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tshx-lab")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "tshx/cmd/tshx-lab")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build tshx-lab: %w\n%s", err, out)
	}
	return path, nil
})

// agentApps are the services that agents serve as TCP apps.
var agentApps = []string{"bulk", "fast", "echo", "polite", "torn"}

// agentHello is the HTTP app of agents.
const agentHello = "hello"

// The clusters whose proxies reach nothing by themselves.
var (
	agentModern = share(func() (*agentCluster, error) { return startAgentCluster("agents.tshx.test", "v17") })
	agentOld    = share(func() (*agentCluster, error) { return startAgentCluster("oldagents.tshx.test", "v14") })
)

// agentCluster is a cluster with what an agent of it needs.
type agentCluster struct {
	*cluster
	config string // of agents
	kube   bool   // there is a Kubernetes behind
}

func startAgentCluster(name, behave string) (*agentCluster, error) {
	c := lab.Config{Cluster: name, Behave: behave, User: account.User, Logins: []string{osUser(), account.User}}
	var y strings.Builder
	node, err := startSwitchboard("")
	if err != nil {
		return nil, err
	}
	c.Nodes = []lab.Node{{Name: "node1", Agent: true}}
	fmt.Fprintf(&y, "nodes:\n- {name: node1, addr: %q}\n", node.addr)
	c.Databases = []lab.Database{{Name: "cache", Protocol: "redis", User: "default", Agent: true},
		{Name: "pg", Protocol: "postgres", User: account.User, Database: account.Database, Agent: true}}
	fmt.Fprintf(&y, "databases:\n- {name: cache, protocol: redis, addr: %q}\n- {name: pg, protocol: postgres, addr: %q}\n", addrOf(redis), addrOf(postgres))
	fmt.Fprintf(&y, "apps:\n")
	for _, name := range agentApps {
		s, err := services[name].load()
		if err != nil {
			return nil, err
		}
		c.Apps = append(c.Apps, lab.App{Name: name, URI: "tcp://", Agent: true})
		fmt.Fprintf(&y, "- {name: %s, uri: \"tcp://%s\"}\n", name, s.addr)
	}
	hello, err := startService(serveHTTP(`{"hello":"agent"}`))
	if err != nil {
		return nil, err
	}
	c.Apps = append(c.Apps, lab.App{Name: agentHello, URI: "http://", Agent: true})
	fmt.Fprintf(&y, "- {name: %s, uri: \"http://%s\"}\n", agentHello, hello.addr)
	k, kubeErr := kubernetes.load()
	if kubeErr == nil {
		c.Kube = []lab.Kube{{Name: kubeDemo, Agent: true}}
		fmt.Fprintf(&y, "kube:\n- {name: %s, kubeconfig: %q}\n", kubeDemo, k.Kubeconfig)
	}
	l, err := lab.Start(context.Background(), c)
	if err != nil {
		return nil, err
	}
	atExit(func() { l.Close() })
	if s, err := startNode(l.Authority, "node1", "node1."+name); err == nil {
		node.to(s.Addr)
	}
	dir, err := tempDir("agent")
	if err != nil {
		return nil, err
	}
	ac := &agentCluster{cluster: &cluster{lab: l, config: c, direct: loopback(l.Addr)}, config: filepath.Join(dir, "agent.yaml"), kube: kubeErr == nil}
	if err := os.WriteFile(ac.config, []byte(y.String()), 0o600); err != nil {
		return nil, err
	}
	return ac, ac.writeCA()
}

// agent runs an agent that reaches the proxy at addr. It is there when agent
// returns, and ends with the test.
func (c *agentCluster) agent(t testing.TB, addr string) *program {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "agent")
	check(t, c.lab.WriteAgent(dir, at("localhost", addr)))
	return runAgent(t, c.config, dir)
}

func runAgent(t testing.TB, config, identity string, args ...string) *program {
	t.Helper()
	argv := append([]string{labPath.get(t)}, args...)
	p := launch(t, options{}, append(argv, "agent", "--config", config, "--identity", identity)...)
	p.lineAfter("ready: ")
	return p
}

// front puts a balancer before the proxy and returns its address.
func (c *agentCluster) front(t testing.TB, start func(peer.Balancer) (*peer.Server, error)) *peer.Server {
	t.Helper()
	b, err := c.balancer(c.direct)
	check(t, err)
	s, err := start(b)
	check(t, err)
	t.Cleanup(s.Close)
	return s
}

// loginTo is a login at the proxy's address, or at that of a balancer.
func (c *agentCluster) loginTo(t testing.TB, addr string) *transport {
	t.Helper()
	tr, err := c.login(at("localhost", addr), lab.HomeOptions{})
	check(t, err)
	return tr
}

// app runs tshx proxy app for a TCP app and returns the local address.
func (tr *transport) app(t testing.TB, name string) string {
	t.Helper()
	return launch(t, tr.options(), tshxPath, "proxy", "app", name, "--protocol", "tcp").lineAfter("address: ")
}

// works reports whether the echo service answers at addr.
func works(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return false
	}
	defer c.Close()
	return echoed(c)
}

// echoed reports whether c is an echo.
func echoed(c net.Conn) bool {
	b := []byte("are you there?")
	got := make([]byte, len(b))
	if _, err := c.Write(b); err != nil {
		return false
	}
	for n := 0; n < len(b); {
		m, err := c.Read(got[n:])
		if err != nil {
			return false
		}
		n += m
	}
	return string(got) == string(b)
}
