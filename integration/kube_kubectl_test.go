//go:build linux

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tshx/internal/lab"
)

// kubeLogin is a login of its own with kubeconfigs that `tshx kube login` wrote.
type kubeLogin struct {
	*transport
	kubeconfigs []string // KUBECONFIG: the demo cluster, which is the current context, and one of kubeMarks
	temp        string   // TMPDIR
}

// kubeLoggedIn logs in by the way of a transport.
func kubeLoggedIn(t testing.TB, name string) kubeLogin {
	t.Helper()
	way := kubeTransport(t, name)
	tr, err := kubeClusterOf(t, way).login(way.addr, lab.HomeOptions{})
	check(t, err)
	dir := t.TempDir()
	l := kubeLogin{transport: tr, temp: t.TempDir()}
	for _, kube := range []string{kubeMarks[0], kubeDemo} {
		path := filepath.Join(dir, kube+".yaml")
		l.kubeconfigs = append([]string{path}, l.kubeconfigs...)
		o := tr.options()
		o.env = append(o.env, "KUBECONFIG="+path)
		execute(t, o, tshxPath, "kube", "login", kube)
	}
	return l
}

// context is what the context of a cluster is called.
func (l kubeLogin) context(kube string) string { return l.cluster + "-" + kube }

// options are those of `tshx kubectl`.
func (l kubeLogin) options(t testing.TB) options {
	t.Helper()
	o := l.transport.options()
	o.env = append(append(o.env, kubeEnv(t)...), "TMPDIR="+l.temp,
		"KUBECONFIG="+strings.Join(l.kubeconfigs, string(os.PathListSeparator)))
	return o
}

// TestKubectl: tshx kubectl is kubectl, whether kubectl could get there by itself
// or not.
func TestKubectl(t *testing.T) {
	for _, way := range []struct {
		name   string
		behind bool // a local proxy
	}{{"raw", false}, {"websocket nginx", true}, {"legacy nginx", true}} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			kubernetes.get(t)
			l := kubeLoggedIn(t, way.name)
			for _, tt := range []struct {
				name string
				run  func(*testing.T, kubeLogin)
			}{
				{"input and exit code", kubectlCodes},
				{"kubeconfigs", kubectlKubeconfigs},
				{"local commands", kubectlLocal},
				{"terminal", kubectlTerminal},
				{"signals", func(t *testing.T, l kubeLogin) { kubectlSignals(t, l, way.behind) }},
				{"parallel", kubectlParallel},
			} {
				t.Run(tt.name, func(t *testing.T) {
					t.Parallel()
					nothingLeft(t)
					own := l
					own.temp = t.TempDir()
					tt.run(t, own)
					if left, err := os.ReadDir(own.temp); err != nil || len(left) > 0 {
						t.Errorf("left behind: %v, %v", left, err)
					}
				})
			}
		})
	}
}

// kubectlCodes: input and output pass, and the exit code is that of kubectl or of
// the command that it ran.
func kubectlCodes(t *testing.T, l kubeLogin) {
	pod := kubernetes.get(t).Pod
	for _, tt := range []struct {
		input string
		args  string
		code  int
		out   string
		says  string // of kubectl, part of it
	}{
		{"", "kubectl get namespace default -o name", 0, "namespace/default\n", ""},
		{"hello", "kubectl exec -i " + pod + " -- cat", 0, "hello", ""},
		{"exit 7", "kubectl exec -i " + pod + " -- sh", 7, "", "exit code 7"},
		{"exit 7", "kube exec -i " + pod + " -- sh", 7, "", "exit code 7"},
		{"", "kubectl get configmap nosuch", 1, "", `configmaps "nosuch" not found`},
		{"", "kubectl frobnicate", 1, "", `unknown command "frobnicate"`},
		{"", "kubectl get --frobnicate", 1, "", "unknown flag: --frobnicate"},
		{configMap(objectName(t), "word"), "kubectl apply -f - -o name", 0, "configmap/" + objectName(t) + "\n", ""},
	} {
		o := l.options(t)
		o.input = tt.input
		p := launch(t, o, append([]string{tshxPath}, strings.Fields(tt.args)...)...)
		code, said := p.wait(), p.stderr.String()
		if code != tt.code || p.stdout.String() != tt.out || !strings.Contains(said, tt.says) || tt.says == "" && said != "" {
			t.Errorf("%s: exit code %d, %q, %q", tt.args, code, p.stdout.String(), said)
		}
		if strings.Contains(said, "tshx:") {
			t.Errorf("tshx said something: %s", said)
		}
	}
}

// kubectlKubeconfigs: the kubeconfig and the context are those that kubectl would
// take, wherever they are named.
func kubectlKubeconfigs(t *testing.T, l kubeLogin) {
	demo, marked := l.kubeconfigs[0], l.kubeconfigs[1]
	admin := kubernetes.get(t).Kubeconfig
	mark := []string{kubeMarks[0]}
	for _, tt := range []struct {
		name       string
		kubeconfig string // KUBECONFIG
		args       string
		user       string
		mark       []string
	}{
		{"the first of a list is current", demo + ":" + marked, "", account.User, nil},
		{"the other is, too", marked + ":" + demo, "", account.User, mark},
		{"by context", demo + ":" + marked, "--context " + l.context(mark[0]), account.User, mark},
		{"by context=", marked + ":/nonexistent/config:" + demo, "--context=" + l.context(kubeDemo), account.User, nil},
		{"by kubeconfig", demo, "--kubeconfig " + marked, account.User, mark},
		{"by kubeconfig=", "", "--kubeconfig=" + marked, account.User, mark},
		{"foreign context", demo + ":" + admin, "--context=peer", "admin", nil},
		{"foreign kubeconfig", demo, "--kubeconfig=" + admin, "admin", nil},
		{"impersonation", demo, "--as=bob --as-group=dev", "bob", nil},
	} {
		o := l.options(t)
		o.env = append(o.env, "KUBECONFIG="+tt.kubeconfig)
		p := launch(t, o, append([]string{tshxPath, "kubectl", "auth", "whoami", "-o", "json"}, strings.Fields(tt.args)...)...)
		if code := p.wait(); code != 0 {
			t.Errorf("%s: exit code %d: %s", tt.name, code, p.stderr.String())
			continue
		}
		if got := whoami(t, p.stdout.String()); got.Username != tt.user || !slices.Equal(got.Extra[kubeMark], tt.mark) {
			t.Errorf("%s: %+v, want %s by %q", tt.name, got, tt.user, tt.mark)
		}
	}
}

// kubectlLocal: what kubectl does to kubeconfigs it does to those of the user.
func kubectlLocal(t *testing.T, l kubeLogin) {
	path := filepath.Join(t.TempDir(), "config")
	text, err := os.ReadFile(l.kubeconfigs[0])
	check(t, err)
	check(t, os.WriteFile(path, text, 0o600))
	o := l.options(t)
	o.env = append(o.env, "KUBECONFIG="+path)
	kubectl := func(args ...string) string {
		t.Helper()
		return execute(t, o, append([]string{tshxPath, "kubectl"}, args...)...)
	}
	kubectl("config", "set-context", "--current", "--namespace=kube-system")
	if got := kubectl("config", "view", "--minify", "-o", "jsonpath={..namespace}"); got != "kube-system" {
		t.Errorf("the namespace is %q", got)
	}
	const there = "extension-apiserver-authentication" // in that namespace
	if got := kubectl("get", "configmap", there, "-o", "name"); got != "configmap/"+there+"\n" {
		t.Errorf("got %q", got)
	}
	if got := kubectl("version", "--client"); !strings.HasPrefix(got, "Client Version: ") {
		t.Errorf("got %q", got)
	}
	after, err := os.ReadFile(path)
	check(t, err)
	if strings.Contains(string(after), "proxy-url") || !strings.Contains(string(after), "namespace: kube-system") {
		t.Errorf("the kubeconfig is now\n%s", after)
	}
}

// kubectlTerminal: the terminal is kubectl's, with its keys and size.
func kubectlTerminal(t *testing.T, l kubeLogin) {
	tr := *l.transport
	tr.env = l.options(t).env
	resized(t, startOnTerminal(t, &tr, "sh", "-c", `stty rows 31 cols 97; exec "$@"`, "sh",
		tshxPath, "kubectl", "exec", "-it", kubernetes.get(t).Pod, "--", "sh", "-c", resizeScript))
}

// kubectlSignals: a signal ends kubectl, and the exit code tells. Where kubectl gets
// there by itself, it has taken the place of tshx.
func kubectlSignals(t *testing.T, l kubeLogin, behind bool) {
	k := kubernetes.get(t)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		o := l.options(t)
		o.stdin, _ = pipe(t)
		p := launch(t, o, tshxPath, "kubectl", "exec", "-i", k.Pod, "--", "sh", "-c", "echo ready; exec cat")
		p.sees("ready")
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.cmd.Process.Pid))
		check(t, err)
		if want := map[bool]string{false: k.Kubectl, true: tshxPath}[behind]; exe != want {
			t.Errorf("runs %s, want %s", exe, want)
		}
		p.signal(s)
		code := p.wait()
		if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
			code = 128 + int(status.Signal())
		}
		if code != 128+int(s) {
			t.Errorf("exit code %d after %v", code, s)
		}
		if said := p.stderr.String(); said != "" {
			t.Errorf("said %q", said)
		}
	}
}

// kubectlParallel: many at the same time do not get into each other's way.
func kubectlParallel(t *testing.T, l kubeLogin) {
	const many = 10
	script := fmt.Sprintf(`seq %d | xargs -P %[1]d -I{} "$0" kubectl get namespace default -o name`, many)
	got := lines(execute(t, l.options(t), "sh", "-c", script, tshxPath))
	if len(got) != many || slices.ContainsFunc(got, func(l string) bool { return l != "namespace/default" }) {
		t.Errorf("%d answers: %q", len(got), got)
	}
}
