package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/balancer"
)

func TestLoadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(path, []byte(`
cluster: c.example.com
listen: 127.0.0.1:0
behave: v14
proxy_protocol: on
key_algorithm: ecdsa
user: bob
logins: [bob]
trust_x_forwarded_for: true
ping_interval: 2s
nodes:
  - name: node1
  - {name: node2, addr: "127.0.0.1:22"}
databases:
  - {name: orders, protocol: postgres, addr: "unix:/run/postgresql/.s.PGSQL.5432", user: bob, database: orders}
  - {name: cache, protocol: redis}
apps:
  - {name: echo, uri: "tcp://"}
  - {name: web, uri: "http://127.0.0.1:8080"}
kube:
  - {name: demo, kubeconfig: /etc/kubernetes/admin.conf}
  - {name: Other.Demo, kubeconfig: kind.yaml, context: kind}
  - {name: builtin}
kube_users: [bob, admin]
kube_groups: []
balancer: {alpn: unasked, upgrades: websocket, refuse: 403, idle: 5s}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Cluster: "c.example.com", Listen: "127.0.0.1:0", Behave: "v14", KeyAlgorithm: "ecdsa", User: "bob", Logins: []string{"bob"},
		ProxyProtocol: "on", TrustForwardedFor: true, PingInterval: 2 * time.Second,
		Nodes: []Node{{Name: "node1"}, {Name: "node2", Addr: "127.0.0.1:22"}},
		Databases: []Database{
			{Name: "orders", Protocol: "postgres", Addr: "unix:/run/postgresql/.s.PGSQL.5432", User: "bob", Database: "orders"},
			{Name: "cache", Protocol: "redis"},
		},
		Apps: []App{{Name: "echo", URI: "tcp://"}, {Name: "web", URI: "http://127.0.0.1:8080"}},
		Kube: []Kube{
			{Name: "demo", Kubeconfig: "/etc/kubernetes/admin.conf"},
			{Name: "Other.Demo", Kubeconfig: "kind.yaml", Context: "kind"},
			{Name: "builtin"},
		},
		KubeUsers: []string{"bob", "admin"}, KubeGroups: []string{},
		Balancer: &Balancer{ALPN: balancer.ALPNUnasked, Upgrades: balancer.UpgradesWebSocket, Refuse: 403, Idle: 5 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{
		{"unknown key", "cluster: c\nnode:\n  - name: x\n", `line 2: unknown key "node"`},
		{"unknown nested key", "nodes:\n  - {nam: x}\n", `line 2: unknown key "nam"`},
		{"wrong type", "nodes: 5\n", "line 1: `5` is not what belongs here"},
		{"no yaml", "a: [\n", "line 1:"},
		{"proxy protocol", "proxy_protocol: v2\n", `proxy_protocol: unknown "v2": use on or off`},
		{"behave", "behave: v9\n", `behave: unknown release "v9"`},
		{"algorithm", "key_algorithm: dsa\n", `key_algorithm: unknown "dsa"`},
		{"listen", "listen: 3080\n", `listen: "3080" is no host:port`},
		{"listen elsewhere", "listen: 0.0.0.0:3080\n", "is not on loopback"},
		{"balancer elsewhere", "balancer: {listen: \"192.0.2.1:1\"}\n", "balancer: listen:"},
		{"cluster", "cluster: ../x\n", "cluster:"},
		{"node without name", "nodes:\n  - {addr: \"a:1\"}\n", "node without a name"},
		{"node twice", "nodes: [{name: a}, {name: a}]\n", `node "a" is there twice`},
		{"node's address", "nodes: [{name: a, addr: b}]\n", `node a: "b" is no host:port`},
		{"database's protocol", "databases: [{name: a, protocol: dbase, addr: \"a:1\"}]\n", `unknown protocol "dbase"`},
		{"database's address", "databases: [{name: a, protocol: postgres}]\n", "only redis is built in"},
		{"database's name", "databases: [{name: a/b, protocol: redis}]\n", "a/b"},
		{"app's uri", "apps: [{name: a, uri: \"ftp://x\"}]\n", "neither tcp:// nor http:// nor https://; tcp:// and http:// alone are built in"},
		{"kube's kubeconfig", "kube: [{name: a, context: b}]\n", `kube "a": a context needs a kubeconfig`},
		{"kube's name", "kube: [{name: a/b, kubeconfig: c}]\n", "a/b"},
		{"kube twice", "kube: [{name: a, kubeconfig: c}, {name: a, kubeconfig: d}]\n", `kube "a" is there twice`},
		{"kube's key", "kube: [{name: a, server: \"https://x\"}]\n", `unknown key "server"`},
		{"app's port", "apps: [{name: a, uri: \"tcp://x\"}]\n", "is no host:port"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseConfig([]byte(tt.yaml))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, tt.want)
			}
		})
	}
}

func TestEmptyConfig(t *testing.T) {
	if c, err := parseConfig(nil); err != nil || !cmp.Equal(c, Config{}) {
		t.Errorf("%+v, %v", c, err)
	}
}
