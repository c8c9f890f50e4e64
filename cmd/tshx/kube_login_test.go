package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/lab"
	"tshx/internal/profile"
)

// A login adds an entry that clientcmd understands, makes it the current one, and
// leaves the others alone. The profile has a copy.
func TestKubeLogin(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, ownKubeconfig, "demo", "Long.Name-of.a-cluster.with-more-than-31-bytes")
	out := k.must("kube", "login", "demo", "-n", "apps")
	want := "file: " + k.config + "\ncontext: lab.example.com-demo\nconnect: kubectl get pods\n" +
		"or: tshx kubectl get pods, or tshx proxy kube demo, if something in front of the proxy ends TLS\n"
	if d := cmp.Diff(want, out); d != "" {
		t.Error(d)
	}
	once := k.read(k.config)
	k.must("kube", "login", "demo") // the namespace stays
	if d := cmp.Diff(once, k.read(k.config)); d != "" {
		t.Error(d)
	}
	copied := k.paths.KubeConfig("lab.example.com", "demo")
	for path, contexts := range map[string]int{k.config: 2, copied: 1} {
		config := k.load(path)
		if config.CurrentContext != "lab.example.com-demo" || len(config.Contexts) != contexts {
			t.Errorf("%s: current %q of %d", path, config.CurrentContext, len(config.Contexts))
		}
		k.isEntry(config, "lab.example.com-demo", "demo", "apps")
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	config := k.load(k.config)
	if mine := config.Contexts["mine"]; mine == nil || config.AuthInfos[mine.AuthInfo].Token != "s3cret" || config.Clusters[mine.Cluster] == nil {
		t.Errorf("the user's own: %+v", mine)
	}

	long := "Long.Name-of.a-cluster.with-more-than-31-bytes"
	out = k.must("kube", "login", long, "--set-context-name", "{{.KubeName}}@{{.ClusterName}}")
	if !strings.Contains(out, "\ncontext: "+long+"@lab.example.com\n") {
		t.Errorf("%s", out)
	}
	k.isEntry(k.load(k.config), long+"@lab.example.com", long, "")
}

// A login that another file has keeps its namespace, and who is impersonated, when
// the first file of the list gets one.
func TestKubeLoginKeeps(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	k.must("kube", "login", "demo", "-n", "apps")
	config := k.load(k.config)
	user := config.AuthInfos["lab.example.com-demo"]
	user.Impersonate, user.ImpersonateGroups = "robot", []string{"dev"}
	if err := clientcmd.WriteToFile(*config, k.config); err != nil {
		t.Fatal(err)
	}
	first := k.config + "1"
	k.write(first, ownKubeconfig)
	for _, list := range []string{k.config, first + string(filepath.ListSeparator) + k.config} {
		t.Setenv("KUBECONFIG", list)
		k.must("kube", "login", "demo")
		path, _, _ := strings.Cut(list, string(filepath.ListSeparator))
		config := k.load(path)
		k.isEntry(config, "lab.example.com-demo", "demo", "apps")
		user := config.AuthInfos["lab.example.com-demo"]
		if user.Impersonate != "robot" || strings.Join(user.ImpersonateGroups, " ") != "dev" {
			t.Errorf("%s: as %q of %q", list, user.Impersonate, user.ImpersonateGroups)
		}
	}
}

// isEntry demands the entry of a Kubernetes cluster.
func (k *kubeLab) isEntry(config *api.Config, context, kube, namespace string) {
	k.t.Helper()
	at := config.Contexts[context]
	if at == nil || at.Namespace != namespace || config.Clusters[at.Cluster] == nil || config.AuthInfos[at.AuthInfo] == nil {
		k.t.Fatalf("context %q: %+v", context, at)
	}
	cluster, user := config.Clusters[at.Cluster], config.AuthInfos[at.AuthInfo]
	exe, err := os.Executable()
	if err != nil {
		k.t.Fatal(err)
	}
	if d := cmp.Diff(&api.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1beta1", Command: exe, InteractiveMode: api.IfAvailableExecInteractiveMode,
		Args: []string{"kube", "credentials", "--kube-cluster=" + kube, "--teleport-cluster=lab.example.com", "--proxy=" + k.lab.Addr},
		Env:  []api.ExecEnvVar{{Name: "TELEPORT_HOME", Value: k.home}},
	}, user.Exec); d != "" {
		k.t.Error(d)
	}
	if cluster.Server != "https://"+k.lab.Addr || cluster.TLSServerName != "kube-teleport-proxy-alpn.localhost" ||
		string(cluster.CertificateAuthorityData) != string(k.lab.Authority.Host.PEM()) {
		k.t.Errorf("cluster %+v", cluster)
	}
}

// With what a login writes, Kubernetes's own client gets its certificate and an
// answer from the cluster.
func TestKubeLoginIsOfUse(t *testing.T) {
	for name, o := range map[string]lab.HomeOptions{"v14": {Layout: profile.LayoutV13}, "v17": {Layout: profile.LayoutV17}} {
		t.Run(name, func(t *testing.T) {
			k := newKubeLab(t, o, "", "demo")
			k.must("kube", "login", "demo")
			k.isOfUse(k.config)
			k.isOfUse(k.paths.KubeConfig("lab.example.com", "demo"))
		})
	}
	t.Run("identity", func(t *testing.T) {
		k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
		file := k.identity(lab.HomeOptions{Kube: "demo"})
		if err := os.RemoveAll(k.home); err != nil {
			t.Fatal(err)
		}
		t.Chdir(filepath.Dir(file))
		out := k.must("kube", "login", "demo", "-i", filepath.Base(file), "--proxy", k.lab.Addr)
		if !strings.HasPrefix(out, "file: "+k.config+"\n") || k.exists(k.home) {
			t.Errorf("%s", out)
		}
		t.Chdir(t.TempDir())
		k.isOfUse(k.config)
	})
}

// isOfUse asks the cluster who we are.
func (k *kubeLab) isOfUse(path string) {
	k.t.Helper()
	o := clientcmd.ConfigOverrides{}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: path}, &o).ClientConfig()
	if err != nil {
		k.t.Fatal(err)
	}
	// The command is this test, which is tshx by that name only.
	link := filepath.Join(k.t.TempDir(), "tshx")
	if err := os.Symlink(config.ExecProvider.Command, link); err != nil {
		k.t.Fatal(err)
	}
	config.ExecProvider.Command = link
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		k.t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	resp, err := client.Get(config.Host + "/api/v1/namespaces/demo")
	if err != nil {
		k.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || !strings.Contains(string(text), `"kind":"Namespace"`) {
		k.t.Errorf("%s: %s, %v", resp.Status, text, err)
	}
}

// What to run next depends on how the proxy is reached.
func TestKubeLoginNext(t *testing.T) {
	yes, no := true, false
	behind := "connect: tshx kubectl get pods\nor: tshx proxy kube demo\nwhy: something in front of the proxy ends TLS, and kubectl alone does not get past it\n"
	for _, tt := range []struct {
		name   string
		o      lab.HomeOptions
		change func(t *testing.T, k *kubeLab)
		args   []string
		want   string
	}{
		{"behind a balancer", lab.HomeOptions{UpgradeRequired: &yes}, nil, nil, behind},
		{"named cluster", lab.HomeOptions{UpgradeRequired: &yes}, nil, []string{"-c", "lab.example.com"},
			strings.ReplaceAll(behind, "kube demo", "kube --cluster=lab.example.com demo")},
		{"raw", lab.HomeOptions{UpgradeRequired: &no}, nil, nil, "connect: kubectl get pods\n"},
		{"by the environment", lab.HomeOptions{}, func(t *testing.T, _ *kubeLab) { t.Setenv("TELEPORT_TLS_ROUTING_CONN_UPGRADE", "yes") }, nil, behind},
		{"a port of its own", lab.HomeOptions{UpgradeRequired: &yes}, func(_ *testing.T, k *kubeLab) { k.kubeAddr("kube.example.com:3026") }, nil, "connect: kubectl get pods\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKubeLab(t, tt.o, "", "demo")
			if tt.change != nil {
				tt.change(t, k)
			}
			out := k.must(append([]string{"kube", "login", "demo"}, tt.args...)...)
			if d := cmp.Diff("file: "+k.config+"\ncontext: lab.example.com-demo\n"+tt.want, out); d != "" {
				t.Error(d)
			}
		})
	}
}

// kubeAddr makes the profile say that Kubernetes has another address.
func (k *kubeLab) kubeAddr(addr string) {
	k.t.Helper()
	path := profile.ConfigPath(k.home, "localhost")
	k.write(path, strings.Replace(k.read(path), "kube_proxy_addr: "+k.lab.Addr, "kube_proxy_addr: "+addr, 1))
}

// The server is where the proxy has Kubernetes. Its name is in the route if it is
// a port with others.
func TestKubeLoginAddress(t *testing.T) {
	for _, tt := range []struct{ name, config, server, serverName string }{
		{"of its own", "kube_proxy_addr: kube.example.com:3026", "https://kube.example.com:3026", "kube-teleport-proxy-alpn.kube.example.com"},
		{"IP address", "kube_proxy_addr: 127.0.0.1:3026", "https://127.0.0.1:3026", "kube-teleport-proxy-alpn.teleport.cluster.local"},
		{"not told", "", "https://ADDR", "kube-teleport-proxy-alpn.localhost"},
		{"no TLS routing", "kube_proxy_addr: kube.example.com:3026\ntls_routing_enabled: false", "https://kube.example.com:3026", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
			path := profile.ConfigPath(k.home, "localhost")
			k.write(path, "web_proxy_addr: "+k.lab.Addr+"\nuser: alice\ncluster: lab.example.com\n"+tt.config+"\n"+
				map[bool]string{true: "tls_routing_enabled: true\n"}[!strings.Contains(tt.config, "routing")])
			k.must("kube", "login", "demo")
			cluster := k.load(k.config).Clusters["lab.example.com-demo"]
			if want := strings.Replace(tt.server, "ADDR", k.lab.Addr, 1); cluster.Server != want || cluster.TLSServerName != tt.serverName {
				t.Errorf("server %s as %q", cluster.Server, cluster.TLSServerName)
			}
		})
	}
}

// Of several files the first that exists gets the login, with the namespace that
// the context has in any of them.
func TestKubeLoginFiles(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, ownKubeconfig, "demo")
	first := k.config + "1"
	t.Setenv("KUBECONFIG", first+string(filepath.ListSeparator)+k.config)
	k.must("kube", "login", "demo", "--kube-namespace=apps")
	if k.exists(first) {
		t.Errorf("%s was made", first)
	}
	k.write(first, "")
	if out := k.must("kube", "login", "demo"); !strings.HasPrefix(out, "file: "+first+"\n") {
		t.Errorf("%s", out)
	}
	k.isEntry(k.load(first), "lab.example.com-demo", "demo", "apps")
}

// A login directory that cannot be written does not keep kubectl from its file.
func TestKubeLoginNoCopy(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	copied := k.paths.KubeConfig("lab.example.com", "demo")
	k.write(filepath.Join(copied, "file"), "")
	code, out, talk := k.tshx("kube", "login", "demo")
	if code != 0 || !strings.HasPrefix(out, "file: "+k.config+"\n") || !strings.HasPrefix(talk, "tshx: warning: the profile has no copy of it: ") || strings.Count(talk, "\n") != 1 {
		t.Errorf("exit code %d, %s%s", code, out, talk)
	}
	k.isEntry(k.load(k.config), "lab.example.com-demo", "demo", "")
}

// An identity that is gone once it was read is of no use to kubectl.
func TestKubeLoginPipe(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pipe := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if _, err := os.Stat(pipe); err != nil {
		t.Skip(err)
	}
	if _, err := io.WriteString(w, k.read(k.identity(lab.HomeOptions{Kube: "demo"}))); err != nil {
		t.Fatal(err)
	}
	w.Close()
	code, out, talk := k.tshx("kube", "login", "demo", "-i", pipe, "--proxy", k.lab.Addr)
	if code != exitUsage || out != "" || !strings.Contains(talk, "can be read only once") || k.exists(k.config) {
		t.Errorf("exit code %d, %s%s", code, out, talk)
	}
}
