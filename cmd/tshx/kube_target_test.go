package main

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/kubeconfig"
	"tshx/internal/lab"
)

// open loads the login that flags lead to.
func (k *kubeLab) open(g Globals) *login {
	k.t.Helper()
	env, _ := testEnv()
	l, err := g.open(env, "")
	if err != nil {
		k.t.Fatal(err)
	}
	return l
}

// A login in a kubeconfig is of the home or identity file that its plugin is
// given, whatever the proxy is called.
func TestOwns(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	file := k.identity(lab.HomeOptions{Kube: "demo"})
	t.Chdir(filepath.Dir(k.home))
	home, identity := k.open(Globals{Home: k.home}), k.open(Globals{Identity: file, ProxyAddr: k.lab.Addr})
	in := func(dir string) []api.ExecEnvVar {
		return []api.ExecEnvVar{{Name: "X", Value: "/"}, {Name: "TELEPORT_HOME", Value: dir}}
	}
	for _, tt := range []struct {
		name string
		e    kubeconfig.Entry
		home bool // whether it is of the home
		file bool // and of the identity file
	}{
		{"profile", kubeconfig.Entry{Profile: "LOCALHOST"}, true, true},
		{"another profile", kubeconfig.Entry{Profile: "proxy.example.com", Server: "https://" + k.lab.Addr}, false, false},
		{"server", kubeconfig.Entry{Server: "https://" + k.lab.Addr}, true, true},
		{"another server", kubeconfig.Entry{Server: "https://proxy.example.com"}, false, false},
		{"home", kubeconfig.Entry{Profile: "localhost", Env: in(k.home)}, true, true},
		{"home from here", kubeconfig.Entry{Profile: "localhost", Env: in("./x/../tsh/")}, true, true},
		{"another home", kubeconfig.Entry{Profile: "localhost", Env: in("/elsewhere")}, false, true},
		{"another home, by server", kubeconfig.Entry{Server: "https://" + k.lab.Addr, Env: in("/elsewhere")}, false, true},
		{"identity", kubeconfig.Entry{Profile: "localhost", Args: []string{"--identity=" + file}}, false, true},
		{"identity from here", kubeconfig.Entry{Profile: "localhost", Args: []string{"--identity", filepath.Base(file)}}, false, true},
		{"another identity", kubeconfig.Entry{Profile: "localhost", Args: []string{"--identity=/elsewhere"}}, false, false},
	} {
		if got := []bool{home.owns(tt.e), identity.owns(tt.e)}; !slices.Equal(got, []bool{tt.home, tt.file}) {
			t.Errorf("%s: owned by home and identity file: %v", tt.name, got)
		}
	}
}

// Namespace and impersonation of a cluster by name are those of the current
// context's login, or else of the only one.
func TestProxyKubeTakesFromLogin(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, ownKubeconfig, "demo")
	for _, tt := range []struct {
		name            string
		logins          []string // names of contexts
		current         string
		args            string
		namespace, user string
	}{
		{"none", nil, "mine", "", "", ""},
		{"the only one", []string{"one"}, "mine", "", "ns-one", "as-one"},
		{"the current one", []string{"one", "two"}, "one", "", "ns-one", "as-one"},
		{"the other one", []string{"one", "two"}, "two", "", "ns-two", "as-two"},
		{"neither", []string{"one", "two"}, "mine", "", "", ""},
		{"the current one has none", []string{"none", "one"}, "none", "", "", ""},
		{"asked for", []string{"one"}, "one", "-n here --as bob", "here", "bob"},
	} {
		config := k.load(k.config)
		kubeconfig.Logout(config, func(kubeconfig.Entry) bool { return true })
		for _, name := range tt.logins {
			e := kubeconfig.Entry{Profile: "localhost", TeleportCluster: "lab.example.com", KubeCluster: "demo", ContextName: name, Command: "tsh"}
			if err := kubeconfig.Login(config, e, false); err != nil {
				t.Fatal(err)
			}
			if name == "none" {
				continue
			}
			at := config.Contexts[name] // with a user of its own, as people copy them
			user := config.AuthInfos[at.AuthInfo].DeepCopy()
			at.Namespace, at.AuthInfo, user.Impersonate = "ns-"+name, name, "as-"+name
			config.AuthInfos[name] = user
		}
		config.CurrentContext = tt.current
		if err := clientcmd.WriteToFile(*config, k.config); err != nil {
			t.Fatal(err)
		}
		out := k.must(slices.Concat([]string{"proxy", "kube", "demo", "--port=0"}, strings.Fields(tt.args), []string{"--", "cat", "{kubeconfig}"})...)
		got, err := clientcmd.Load([]byte(out))
		if err != nil {
			t.Fatal(err)
		}
		at := got.Contexts["lab.example.com-demo"]
		if at == nil {
			t.Fatalf("%s: %s", tt.name, out)
		}
		if user := got.AuthInfos[at.AuthInfo].Impersonate; at.Namespace != tt.namespace || user != tt.user {
			t.Errorf("%s: namespace %q as %q", tt.name, at.Namespace, user)
		}
	}
}

// Several contexts of a cluster have one certificate, which is watched once, and
// are told of as one cluster.
func TestProxyKubeContextsOfOneCluster(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo", "other")
	for context, kube := range map[string]string{"one": "demo", "three": "other", "two": "demo"} {
		k.must("kube", "login", kube, "--set-context-name="+context)
	}
	base, err := kubeconfig.Load([]string{k.config})
	if err != nil {
		t.Fatal(err)
	}
	env, _ := testEnv()
	l := k.open(Globals{Home: k.home})
	targets := l.contexts(base)
	if len(targets) != 3 {
		t.Fatalf("%d contexts", len(targets))
	}
	s := (&proxyKubeCmd{}).service(env, l, base, targets)
	if len(s.Certs) != 2 || s.What != `kube clusters "demo", "other"` || s.Resource != "demo,other" {
		t.Errorf("%d certificates of %s (%s)", len(s.Certs), s.What, s.Resource)
	}
	config, err := clientcmd.Load([]byte(k.must("proxy", "kube", "--port=0", "--", "cat", "{kubeconfig}")))
	if err != nil {
		t.Fatal(err)
	}
	server := func(context string) string { return config.Clusters[config.Contexts[context].Cluster].Server }
	if len(config.Contexts) != 3 || server("one") != server("two") || server("one") == server("three") {
		t.Errorf("%v lead to %v", config.Contexts, config.Clusters)
	}
}

// A listener that is open to all is reached on loopback.
func TestProxyURL(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:7": "http://127.0.0.1:7",
		"[::1]:7":     "http://[::1]:7",
		"192.0.2.1:7": "http://192.0.2.1:7",
		"0.0.0.0:7":   "http://127.0.0.1:7",
		"[::]:7":      "http://127.0.0.1:7", // which is what 0.0.0.0 becomes
	} {
		at, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := proxyURL(at); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}
