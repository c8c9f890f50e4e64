package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/kubeconfig"
	"tshx/internal/lab"
	"tshx/internal/profile"
	"tshx/internal/program"
)

// ownKubeconfig is what a user has before any login.
const ownKubeconfig = `apiVersion: v1
kind: Config
current-context: mine
clusters:
- {name: mine, cluster: {server: "https://10.0.0.1:6443"}}
contexts:
- {name: mine, context: {cluster: mine, user: me}}
users:
- {name: me, user: {token: s3cret}}
`

// kubeLab is a lab with Kubernetes clusters, the home that a login left, and the
// user's kubeconfig.
type kubeLab struct {
	t      *testing.T
	lab    *lab.Lab
	home   string
	config string
	paths  profile.Paths
}

// newKubeLab starts a lab with these clusters, and makes it and a kubeconfig with
// this content the environment.
func newKubeLab(t *testing.T, o lab.HomeOptions, content string, names ...string) *kubeLab {
	t.Helper()
	c := lab.Config{Balancer: &lab.Balancer{}}
	for _, name := range names {
		c.Kube = append(c.Kube, lab.Kube{Name: name})
	}
	l, err := lab.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	dir := t.TempDir()
	k := &kubeLab{t: t, lab: l, home: filepath.Join(dir, "tsh"), config: filepath.Join(dir, "home", ".kube", "config")}
	k.paths = profile.Paths{Dir: k.home, Proxy: "localhost", User: "alice"}
	if err := l.WriteHome(k.home, l.Addr, o); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"HOME": filepath.Join(dir, "home"), "XDG_CACHE_HOME": filepath.Join(dir, "cache"), "TELEPORT_HOME": k.home, "KUBECONFIG": "",
		"KUBERNETES_EXEC_INFO": "", "TELEPORT_PROXY": "", "TELEPORT_CLUSTER": "", "TELEPORT_SITE": "", "TELEPORT_IDENTITY_FILE": "",
		"TELEPORT_TLS_ROUTING_CONN_UPGRADE": "", "TSHX_CA_FILE": "",
	} {
		t.Setenv(name, value)
	}
	if content != "" {
		k.write(k.config, content)
	}
	return k
}

func (k *kubeLab) write(path, content string) {
	k.t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kubeLab) read(path string) string {
	k.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		k.t.Fatal(err)
	}
	return string(b)
}

// load reads a kubeconfig as kubectl does.
func (k *kubeLab) load(path string) *api.Config {
	k.t.Helper()
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		k.t.Fatal(err)
	}
	return config
}

// tshx runs a command line.
func (k *kubeLab) tshx(args ...string) (code int, out, talk string) {
	k.t.Helper()
	env, stderr := testEnv()
	var stdout bytes.Buffer
	env.Stdout = &stdout
	code = run(k.t.Context(), env, args)
	return code, stdout.String(), stderr.String()
}

// must runs a command line that works, and says nothing but its answer.
func (k *kubeLab) must(args ...string) (out string) {
	k.t.Helper()
	code, out, talk := k.tshx(args...)
	if code != 0 || talk != "" {
		k.t.Fatalf("%v: exit code %d, %s", args, code, talk)
	}
	return out
}

func (k *kubeLab) exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestKubeMistakes: each is one line that says what to do, nothing on standard
// output, and the kubeconfig is as it was.
func TestKubeMistakes(t *testing.T) {
	const login = "kube login demo"
	kubeDir := func(k *kubeLab) string { return filepath.Dir(k.config) }
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, k *kubeLab)
		line   string
		code   int
		want   []string // parts of the line
	}{
		{"nearest name", nil, "kube login dem", exitLogin, []string{`kube cluster "dem" certificate not found, did you mean "demo"? (there are demo, other); if not, run: tsh kube login dem`}},
		{"other cluster", nil, "kube login demo -c leaf", exitLogin, []string{`there is one for --cluster=lab.example.com`, "tsh kube login --cluster=leaf demo"}},
		{"no certificates", func(t *testing.T, k *kubeLab) { os.RemoveAll(k.paths.KindDir(profile.KindKube)) },
			login, exitLogin, []string{`kube cluster "demo" certificate not found`, "tsh kube login demo"}},
		{"no name", nil, "kube login", exitUsage, []string{"<name>", "tshx kube login --help"}},
		{"bad name", nil, "kube login ../demo", exitUsage, []string{`not a usable name for a kube resource: "../demo"`}},
		{"broken template", nil, login + " --set-context-name {{.KubeName", exitUsage, []string{"--set-context-name: ", "unclosed action"}},
		{"unknown part of a template", nil, login + " --set-context-name {{.Kube}}", exitUsage, []string{"--set-context-name: ", `"Kube"`}},
		{"empty template", nil, login + " --set-context-name {{if.KubeName}}{{end}}", exitUsage, []string{"gives an empty one"}},
		{"user's context", nil, login + " --set-context-name mine", exitFailure, []string{`context "mine" that no login wrote; choose another name with --set-context-name`}},
		{"user's cluster", func(t *testing.T, k *kubeLab) {
			k.write(k.config, strings.ReplaceAll(ownKubeconfig, "name: mine, cluster", "name: lab.example.com-demo, cluster"))
		}, login, exitFailure, []string{`cluster "lab.example.com-demo" that no login wrote; rename it, or set KUBECONFIG to another file`}},
		{"user's context in another file", func(t *testing.T, k *kubeLab) {
			t.Setenv("KUBECONFIG", k.config+"1"+string(filepath.ListSeparator)+k.config)
			k.write(k.config+"1", "")
		}, login + " --set-context-name mine", exitFailure, []string{`context "mine" that no login wrote`}},
		{"broken kubeconfig", func(t *testing.T, k *kubeLab) { k.write(k.config, "clusters:\n- {name: x, cluster: {server: 1}}\n") },
			login, exitFailure, []string{".kube/config: line 2: clusters.cluster.server: wants a string, has a number; correct it, or set KUBECONFIG to another file"}},
		{"another one is broken", func(t *testing.T, k *kubeLab) {
			t.Setenv("KUBECONFIG", k.config+string(filepath.ListSeparator)+k.config+"1")
			k.write(k.config+"1", "a: b: c")
		}, login, exitFailure, []string{".kube/config1: ", "correct it"}},
		{"kubeconfig is a directory", func(t *testing.T, k *kubeLab) { t.Setenv("KUBECONFIG", kubeDir(k)) },
			login, exitFailure, []string{"is a directory; set KUBECONFIG to another file"}},
		{"kubeconfig is read-only", func(t *testing.T, k *kubeLab) { os.Chmod(k.config, 0o400) },
			login, exitFailure, []string{".kube/config: permission denied; set KUBECONFIG to another file"}},
		{"no room for a kubeconfig", func(t *testing.T, k *kubeLab) { t.Setenv("HOME", k.config) },
			login, exitFailure, []string{".kube", "; set KUBECONFIG to another file"}},
		{"no authorities", func(t *testing.T, k *kubeLab) {
			os.Remove(k.paths.ClusterCAs("lab.example.com"))
			os.Remove(k.paths.AllCAs())
		}, login, exitLogin, []string{`host authority of cluster "lab.example.com" not found`, "run: tsh login"}},
		{"identity without a route", func(t *testing.T, k *kubeLab) { k.identity(lab.HomeOptions{}) },
			login + " -i IDENTITY --proxy ADDR", exitLogin, []string{`kube cluster "demo" certificate not found (the identity file has none`}},
		{"logout of several", nil, "kube logout", exitUsage, []string{"name a Kubernetes cluster; there are demo, other"}},
		{"logout of a bad name", nil, "kube logout ../../alice", exitUsage, []string{"not a usable name"}},
		{"list in a format", nil, "kube ls -f xml", exitUsage, []string{"text"}},
		{"plugin without flags", nil, "kube credentials", exitUsage, []string{"--kube-cluster"}},
		{"plugin not logged in", func(t *testing.T, k *kubeLab) { os.RemoveAll(k.home) },
			"kube credentials --kube-cluster=demo --teleport-cluster=lab.example.com", exitLogin, []string{"not logged in", "run: tsh login"}},
		{"plugin for another cluster", nil, "kube credentials --kube-cluster=demo --teleport-cluster=../x", exitUsage, []string{"not a usable name"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKubeLab(t, lab.HomeOptions{}, ownKubeconfig, "demo", "other")
			if tt.change != nil {
				tt.change(t, k)
			}
			before, _ := os.ReadFile(k.config)
			line := strings.NewReplacer("IDENTITY", k.home+".identity", "ADDR", k.lab.Addr).Replace(tt.line)
			code, out, talk := k.tshx(strings.Fields(line)...)
			if code != tt.code || out != "" || strings.Count(talk, "\n") != 1 || !strings.HasPrefix(talk, "tshx: ") {
				t.Errorf("exit code %d, %q\n%s", code, out, talk)
			}
			for _, part := range tt.want {
				if !strings.Contains(talk, part) {
					t.Errorf("%s\nhas no %q", talk, part)
				}
			}
			if after, _ := os.ReadFile(k.config); !bytes.Equal(before, after) {
				t.Errorf("the kubeconfig is now\n%s", after)
			}
		})
	}
}

// identity writes an identity file beside the home.
func (k *kubeLab) identity(o lab.HomeOptions) (path string) {
	k.t.Helper()
	path = k.home + ".identity"
	if err := k.lab.WriteIdentityFile(path, o); err != nil {
		k.t.Fatal(err)
	}
	return path
}

// Without a home there is no place for a kubeconfig, unless one is named.
func TestKubeconfigFiles(t *testing.T) {
	list := string(filepath.ListSeparator)
	for _, tt := range []struct{ home, variable, want string }{
		{"/home/x", "", filepath.Join("/home/x", ".kube", "config")},
		{"", "there", "there"},
		{"", "", ""},
		{"", list + list, ""},
	} {
		files, err := kubeconfigFiles(func(string) string { return tt.variable }, tt.home)
		if files.Write != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("home %q, KUBECONFIG %q: %+v, %v", tt.home, tt.variable, files, err)
		}
		if err != nil && explain(err) != "no place for a kubeconfig: no home directory is known; set HOME or KUBECONFIG" {
			t.Errorf("%s", explain(err))
		}
	}
}

// An error about a kubeconfig has a hint that fits, or says itself what to do.
func TestOnKubeconfig(t *testing.T) {
	locked := &kubeconfig.LockedError{Path: "/x/config.lock", Age: time.Hour}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{locked, locked.Error()},
		{&kubeconfig.ParseError{Path: "c", Line: 1, Err: errors.New("bad")}, "c: line 1: bad; correct it, or set KUBECONFIG to another file"},
		{&fs.PathError{Op: "open", Path: "c", Err: fs.ErrPermission}, "open c: permission denied; set KUBECONFIG to another file"},
		{&kubeconfig.TakenError{Kind: "user", Name: "x"}, `the kubeconfig has a user "x" that no login wrote; rename it, or set KUBECONFIG to another file`},
		{&kubeconfig.OtherLoginError{Name: "a-b-c", TeleportCluster: "a-b", KubeCluster: "c"},
			`the context "a-b-c" of kube cluster "c" in cluster "a-b" has the same name; log out of it, or set KUBECONFIG to another file`},
		{program.Usagef("no"), "no"},
	} {
		if got := explain(onKubeconfig(tt.err)); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	if onKubeconfig(nil) != nil {
		t.Error("an error of none")
	}
}
