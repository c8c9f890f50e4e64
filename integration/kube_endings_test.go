//go:build linux

package integration

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tshx/internal/lab"
)

// TestKubeEndings: however the proxy ends, its kubeconfig goes, and that of the
// user stays as it was.
func TestKubeEndings(t *testing.T) {
	kubernetes.get(t)
	_, port, _ := strings.Cut(listen(t).Addr().String(), ":")
	for _, tt := range []struct {
		name   string
		args   string
		script string // to run behind the dashes
		stop   func(*program)
		code   int
	}{
		{"SIGTERM", "", "", func(p *program) { p.signal(syscall.SIGTERM) }, 0},
		{"SIGINT", "", "", func(p *program) { p.signal(syscall.SIGINT) }, 0},
		{"SIGHUP", "", "", func(p *program) { p.signal(syscall.SIGHUP) }, 0},
		{"SIGQUIT", "", "", func(p *program) { p.signal(syscall.SIGQUIT) }, 0},
		{"command", "", `kubectl get namespace default >/dev/null && test -f "$KUBECONFIG"`, nil, 0},
		{"command fails", "", "exit 9", nil, 9},
		{"command edits it", "", "kubectl config delete-user kube.tshx.test-demo >/dev/null", nil, 0},
		{"command crashes", "", "kill -KILL $$", nil, 128 + 9},
		{"command is stopped", "", `trap "exit 6" TERM; echo ready; while :; do sleep 0.05; done`, func(p *program) {
			p.sees("ready")
			p.signal(syscall.SIGTERM)
		}, 6},
		{"port taken", "--port " + port, "", nil, codeFailure},
		{"unwritable port file", "--port-file /nonexistent/directory/port", "", nil, codeFailure},
		{"unknown cluster", "nosuch", "", nil, codeLogin},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			c := kubeModern.get(t)
			tr, err := c.login(at("localhost", c.direct), lab.HomeOptions{})
			check(t, err)
			own := filepath.Join(tr.home, ".kube", "config")
			check(t, os.Mkdir(filepath.Dir(own), 0o700))
			before, err := os.ReadFile(kubernetes.get(t).Kubeconfig)
			check(t, err)
			check(t, os.WriteFile(own, before, 0o600))

			argv := append([]string{tshxPath, "proxy", "kube", kubeDemo}, strings.Fields(tt.args)...)
			if tt.script != "" {
				argv = append(argv, "--", "sh", "-c", tt.script)
			}
			o := tr.options()
			o.env = append(o.env, kubeEnv(t)...)
			p := launch(t, o, argv...)
			if tt.stop != nil {
				if tt.script == "" {
					if _, err := os.Stat(p.lineAfter("kubeconfig: ")); err != nil {
						t.Error(err)
					}
				}
				tt.stop(p)
			}
			if code := p.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d: %s", code, tt.code, p.stderr.String())
			}
			if left := kubeconfigsIn(t, tr.home); !slices.Equal(left, []string{own}) {
				t.Errorf("left behind: %q", left)
			}
			if after, err := os.ReadFile(own); err != nil || string(after) != string(before) {
				t.Errorf("the user's own kubeconfig has changed: %v", err)
			}
		})
	}
}

// TestKubeUnread: the kubeconfig also goes while nobody reads what is said about it.
func TestKubeUnread(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	c := kubeModern.get(t)
	tr, err := c.login(at("localhost", c.direct), lab.HomeOptions{})
	check(t, err)
	r, w := pipe(t)
	size, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	check(t, err)
	_, err = w.Write(make([]byte, size))
	check(t, err)
	o := tr.options()
	o.stdout = w
	p := launch(t, o, tshxPath, "proxy", "kube", kubeDemo)
	there := func() bool {
		found, err := filepath.Glob(filepath.Join(tr.home, "keys", "*", "*-kube", "*", "localproxy-*-kubeconfig"))
		check(t, err)
		return len(found) > 0
	}
	if !eventually(patience, func() bool { return there() || p.ended() }) || !there() {
		t.Fatal("there is no kubeconfig")
	}
	p.signal(syscall.SIGTERM)
	if !eventually(patience, func() bool { return !there() || p.ended() }) || p.ended() {
		t.Error("the kubeconfig is still there")
	}
	_, err = io.CopyN(io.Discard, r, int64(size))
	check(t, err)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
}

// kubeconfigsIn finds the kubeconfigs below a directory, whatever they are called.
func kubeconfigsIn(t testing.TB, dir string) (found []string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "current-context") {
			found = append(found, path)
		}
		return err
	}))
	return found
}

// TestKubeContexts: without a name, the proxy serves what the user has logged in
// to, beside contexts of other origin, which it leaves as they are.
func TestKubeContexts(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	l := kubeLoggedIn(t, "websocket nginx")
	l.kubeconfigs = append(l.kubeconfigs, kubernetes.get(t).Kubeconfig)
	p := launch(t, l.options(t), tshxPath, "proxy", "kube")
	s := kubeSession{transport: l.transport, config: p.lineAfter("kubeconfig: ")}
	for _, tt := range []struct {
		context string
		user    string
		mark    []string
	}{
		{l.context(kubeDemo), account.User, nil}, {l.context(kubeMarks[0]), account.User, kubeMarks[:1]}, {"peer", "admin", nil},
	} {
		got := whoami(t, s.run(t, "--context", tt.context, "auth", "whoami", "-o", "json"))
		if got.Username != tt.user || !slices.Equal(got.Extra[kubeMark], tt.mark) {
			t.Errorf("%s: %+v", tt.context, got)
		}
	}
	if got := strings.TrimSpace(s.run(t, "config", "current-context")); got != l.context(kubeDemo) {
		t.Errorf("the current context is %s", got)
	}
	p.drained()
}

// TestKubeTrouble: kubectl tells what is wrong behind the proxy, and works again
// when that is over.
func TestKubeTrouble(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	c := kubeModern.get(t)
	board := newSwitchboard(t, c.direct)
	tr, err := c.login(at("localhost", board.addr), lab.HomeOptions{})
	check(t, err)
	p := launch(t, tr.options(), tshxPath, "proxy", "kube", kubeDemo, kubeDown)
	s := kubeSession{transport: tr, config: p.lineAfter("kubeconfig: ")}
	get := []string{"get", "--raw", "/api/v1/namespaces/default"}
	fails := func(kube string, says ...string) {
		t.Helper()
		k := s.start(t, append(get, "--context", tr.cluster+"-"+kube)...)
		code, said := k.wait(), k.stderr.String()
		for _, want := range append(says, "(BadGateway)") {
			if code != 1 || !strings.Contains(said, want) {
				t.Errorf("cluster %s: exit code %d, said %q without %q", kube, code, said, want)
			}
		}
	}
	fails(kubeDown, `kubernetes cluster "down"`)
	s.run(t, get...)
	board.to(closedPort(t))
	board.cut()
	fails(kubeDemo, "reset", "check the address")
	board.to(c.direct)
	s.run(t, get...)
}

// TestKubeReadOnlyHome: a home that cannot be written is said in one line, and
// another place will do.
func TestKubeReadOnlyHome(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != uidRoot {
		lacking(t, "only root mounts a home read-only")
	}
	nothingLeft(t)
	c := kubeModern.get(t)
	tr, err := c.login(at("localhost", c.direct), lab.HomeOptions{})
	check(t, err)
	const mounted = `mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"`
	argv := []string{"unshare", "--mount", "sh", "-c", mounted, tr.home, tshxPath, "proxy", "kube", kubeDemo}
	p := launch(t, tr.options(), append(argv, "--", "true")...)
	code := p.wait()
	said := p.stderr.String()
	if code != codeFailure || strings.Count(said, "\n") != 1 || !strings.Contains(said, "read-only file system; name another file with --kubeconfig or TELEPORT_KUBECONFIG") {
		t.Errorf("exit code %d: %s", code, said)
	}
	elsewhere := filepath.Join(t.TempDir(), "config")
	p = launch(t, tr.options(), append(argv, "--kubeconfig", elsewhere, "--", "test", "-f", elsewhere)...)
	if code := p.wait(); code != 0 {
		t.Errorf("with --kubeconfig: exit code %d: %s", code, p.stderr.String())
	}
}
