package kubeconfig

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd/api"
)

var errGone = errors.New("the user left")

func contextWithCancel(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, func() { cancel(errGone) }
}

func other() Entry {
	e := realkube()
	e.KubeCluster, e.Args, e.Env = "other", []string{"kube", "credentials", "--kube-cluster=other", "--teleport-cluster=real.example.com"}, nil
	return e
}

func parse(t *testing.T, text string) *api.Config {
	t.Helper()
	c, err := decode("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tsh17 is a login as tsh v17 writes it, and one of v15, with fewer extensions
// and the arguments as two words.
const tsh17 = `
clusters:
- name: root-a
  cluster: {server: "https://root:443", tls-server-name: kube-teleport-proxy-alpn.root}
- name: root
  cluster: {server: "https://root:443"}
contexts:
- name: mine
  context:
    cluster: root-a
    user: root-a
    namespace: apps
    extensions:
    - {name: kubeconfig.teleport.dev/profile-name, extension: proxy.root}
    - {name: kubeconfig.teleport.dev/teleport-cluster-name, extension: root}
    - {name: teleport.kube.name, extension: a}
- name: renamed
  context: {cluster: root, user: root-b, extensions: [{name: teleport.kube.name, extension: b}]}
- name: static
  context: {cluster: root, user: static, extensions: [{name: teleport.kube.name, extension: {a: b}}]}
- name: dangling
  context: {cluster: nowhere, user: nobody}
users:
- name: root-a
  user: {exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: /opt/tsh, args: [x]}}
- name: root-b
  user: {exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: tsh, args: [--debug, kube, credentials, --kube-cluster, b, --teleport-cluster, root]}}
- name: static
  user: {exec: {apiVersion: v1, command: aws, args: [eks, credentials, --kube-cluster=x, --teleport-cluster=y]}}
`

func TestTeleport(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config *api.Config
		want   []Entry
	}{
		{"v14", parse(t, content(t, "testdata/edit/tsh14.yaml")), []Entry{{
			Profile: "localhost", TeleportCluster: "real.example.com", KubeCluster: "realkube",
			ContextName: "real.example.com-realkube",
			Server:      "https://localhost:3080", ServerName: "kube-teleport-proxy-alpn.localhost", CA: []byte("CA"),
			Command: "tsh",
			Args: []string{"kube", "credentials", "--kube-cluster=realkube", "--teleport-cluster=real.example.com",
				"--proxy=localhost:3080", "--insecure"},
		}}},
		{"v17 and v15", parse(t, tsh17), []Entry{
			{Profile: "proxy.root", TeleportCluster: "root", KubeCluster: "a", ContextName: "mine", Namespace: "apps",
				Server: "https://root:443", ServerName: "kube-teleport-proxy-alpn.root", Command: "/opt/tsh", Args: []string{"x"}},
			{TeleportCluster: "root", KubeCluster: "b", ContextName: "renamed", Server: "https://root:443", Command: "tsh",
				Args: []string{"--debug", "kube", "credentials", "--kube-cluster", "b", "--teleport-cluster", "root"}},
		}},
		{"nobody's", parse(t, content(t, "testdata/edit/minikube.yaml")), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Teleport(tt.config)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("ours", func(t *testing.T) {
		c := api.NewConfig()
		want := realkube()
		want.ContextName, want.Namespace = "custom", "apps"
		if err := Login(c, want, false); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Entry{want}, Teleport(c)); diff != "" {
			t.Error(diff)
		}
		if c.CurrentContext != "" {
			t.Errorf("selected %q without being asked", c.CurrentContext)
		}
	})
}

// TestLoginReplacesTsh logs in where v14's tsh has: its cluster, which all of its
// contexts share, stays as long as one of them is left.
func TestLoginReplacesTsh(t *testing.T) {
	text := strings.ReplaceAll(content(t, "testdata/edit/tsh14.yaml"), "contexts:\n", `contexts:
- context: {cluster: real.example.com, user: real.example.com-other, namespace: apps}
  name: real.example.com-other
`)
	text = strings.ReplaceAll(text, "users:\n", `users:
- name: real.example.com-other
  user: {exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: tsh, args: [kube, credentials, --kube-cluster=other, --teleport-cluster=real.example.com]}}
`)
	c := parse(t, text)
	if err := login(c); err != nil {
		t.Fatal(err)
	}
	if c.Clusters["real.example.com"] == nil || len(c.Clusters) != 2 || len(c.Contexts) != 2 {
		t.Errorf("after one login: %v %v", c.Clusters, c.Contexts)
	}
	if err := Login(c, other(), true); err != nil {
		t.Fatal(err)
	}
	if c.Clusters["real.example.com"] != nil || len(c.Clusters) != 2 || len(c.AuthInfos) != 2 {
		t.Errorf("after both: %v %v", c.Clusters, c.AuthInfos)
	}
	if got := c.Contexts["real.example.com-other"]; got.Namespace != "apps" || got.Cluster != "real.example.com-other" {
		t.Errorf("context %+v, want the user's namespace and the new cluster", got)
	}
}

func TestLoginTaken(t *testing.T) {
	for kind, text := range map[string]string{
		"context": "contexts: [{name: real.example.com-realkube}]",
		"cluster": "clusters: [{name: real.example.com-realkube}]",
		"user":    "users: [{name: real.example.com-realkube}]",
	} {
		c := parse(t, text)
		before := c.DeepCopy()
		var taken *TakenError
		if err := login(c); !errors.As(err, &taken) || *taken != (TakenError{kind, "real.example.com-realkube"}) {
			t.Errorf("%s: %v", kind, err)
		}
		same(t, kind, before, c)
	}
	if err := Login(api.NewConfig(), Entry{KubeCluster: "x"}, true); err == nil {
		t.Error("login without a Teleport cluster")
	}
}

// TestLogout follows the current context through logins and logouts.
func TestLogout(t *testing.T) {
	all := func(Entry) bool { return true }
	kube := func(name string) func(Entry) bool { return func(e Entry) bool { return e.KubeCluster == name } }
	base := "contexts: [{name: a, context: {user: a}}, {name: b}]\nusers: [{name: a}]\ncurrent-context: "
	for _, tt := range []struct {
		name    string
		steps   func(c *api.Config)
		current string
		left    int // contexts
	}{
		{"the one before comes back", func(c *api.Config) {
			Login(c, realkube(), true)
			Logout(c, all)
		}, "a", 2},
		{"through two logins", func(c *api.Config) {
			Login(c, realkube(), true)
			Login(c, other(), true)
			Logout(c, all)
		}, "a", 2},
		{"current is another login's", func(c *api.Config) {
			Login(c, realkube(), true)
			Login(c, other(), true)
			Logout(c, kube("realkube"))
		}, "real.example.com-other", 3},
		{"the user went elsewhere", func(c *api.Config) {
			Login(c, realkube(), true)
			c.CurrentContext = "b"
			Logout(c, all)
		}, "b", 2},
		{"and came back", func(c *api.Config) {
			Login(c, realkube(), true)
			c.CurrentContext = "b"
			Login(c, realkube(), true)
			Logout(c, all)
		}, "b", 2},
		{"it is gone", func(c *api.Config) {
			Login(c, realkube(), true)
			delete(c.Contexts, "a")
			Logout(c, all)
		}, "", 1},
		{"a leftover mark", func(c *api.Config) {
			Login(c, realkube(), true)
			Login(c, other(), false)
			Logout(c, kube("realkube"))
			c.CurrentContext = "real.example.com-other"
			Logout(c, all)
		}, "", 2},
		{"not asked for", func(c *api.Config) {
			Login(c, realkube(), true)
			Logout(c, func(Entry) bool { return false })
		}, "real.example.com-realkube", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := parse(t, base+"a")
			tt.steps(c)
			if c.CurrentContext != tt.current || len(c.Contexts) != tt.left {
				t.Errorf("current %q of %d, want %q of %d", c.CurrentContext, len(c.Contexts), tt.current, tt.left)
			}
			if len(Teleport(c)) == 0 {
				for name, context := range c.Contexts {
					if len(context.Extensions) > 0 {
						t.Errorf("a mark is left on %s", name)
					}
				}
				if len(c.AuthInfos) != 1 || len(c.Clusters) != 0 {
					t.Errorf("left: %v %v", c.AuthInfos, c.Clusters)
				}
			}
		})
	}
}
