//go:build linux

package integration

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// kubeSession is kubectl with a kubeconfig.
type kubeSession struct {
	*transport
	config string   // path of the kubeconfig
	env    []string // further environment of kubectl
}

// kubeDirect reaches the API server without tshx, as its administrator.
func kubeDirect(t testing.TB) kubeSession {
	t.Helper()
	k := kubernetes.get(t)
	return kubeSession{transport: &transport{home: t.TempDir()}, config: k.Kubeconfig}
}

// kubeProxy runs `tshx proxy kube` until the end of the test, when it must drain,
// must not have complained, and must have taken its kubeconfig away.
func kubeProxy(t testing.TB, tr *transport, args ...string) (kubeSession, *program) {
	t.Helper()
	kubernetes.get(t)
	var s kubeSession
	t.Cleanup(func() {
		if _, err := os.Stat(s.config); s.config != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the kubeconfig is still there: %v", err)
		}
	})
	p := tr.start(t, append([]string{"proxy", "kube"}, args...)...)
	s = kubeSession{transport: tr, config: p.lineAfter("kubeconfig: ")}
	return s, p
}

// kubeEnv is the environment of programs that are to find kubectl, of which each
// version has its own.
func kubeEnv(t testing.TB) []string {
	t.Helper()
	return []string{"PATH=" + filepath.Dir(kubernetes.get(t).Kubectl) + string(os.PathListSeparator) + os.Getenv("PATH")}
}

// with returns s with more in the environment.
func (s kubeSession) with(env ...string) kubeSession {
	s.env = append(s.env[:len(s.env):len(s.env)], env...)
	return s
}

// options are those of kubectl, of which the caches are those of the login.
func (s kubeSession) options(t testing.TB) options {
	t.Helper()
	o := s.transport.options()
	o.env = append(append(o.env, kubeEnv(t)...), "KUBECONFIG="+s.config)
	o.env = append(o.env, s.env...)
	return o
}

// start runs kubectl beside the test.
func (s kubeSession) start(t testing.TB, args ...string) *program {
	t.Helper()
	return s.startWith(t, s.options(t), args...)
}

func (s kubeSession) startWith(t testing.TB, o options, args ...string) *program {
	t.Helper()
	return launch(t, o, append([]string{kubernetes.get(t).Kubectl}, args...)...)
}

// run runs kubectl to its end and returns its standard output. It must succeed.
func (s kubeSession) run(t testing.TB, args ...string) string {
	t.Helper()
	return execute(t, s.options(t), append([]string{kubernetes.get(t).Kubectl}, args...)...)
}

// fed is run with text on standard input.
func (s kubeSession) fed(t testing.TB, input string, args ...string) string {
	t.Helper()
	o := s.options(t)
	o.input = input
	return execute(t, o, append([]string{kubernetes.get(t).Kubectl}, args...)...)
}

// newNamespace makes a namespace, which nobody removes: nothing in this cluster
// would empty it.
func (s kubeSession) newNamespace(t testing.TB) string {
	t.Helper()
	name := objectName(t) + "-" + strings.ToLower(rand.Text()[:8])
	s.run(t, "create", "namespace", name)
	return name
}

// sees waits until p has printed a line on standard output.
func (p *program) sees(line string) {
	p.t.Helper()
	found := func() bool { return slices.Contains(strings.Split(p.stdout.String(), "\n"), line) }
	if !eventually(patience, func() bool { return found() || p.ended() }) || !found() {
		p.t.Fatalf("%s printed no line %q: %s%s", p.name, line, clip(p.stdout.String()), p.stderr.String())
	}
}

// kubeUser is who somebody is to the API server.
type kubeUser struct {
	Username string
	Groups   []string
	Extra    map[string][]string
}

// whoami reads what `kubectl auth whoami -o json` prints.
func whoami(t testing.TB, text string) kubeUser {
	t.Helper()
	var review struct{ Status struct{ UserInfo kubeUser } }
	if err := json.Unmarshal([]byte(text), &review); err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	return review.Status.UserInfo
}

// objectName is a name of an object that is the test's own.
func objectName(t testing.TB) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, strings.ToLower(t.Name())), "-")
}
