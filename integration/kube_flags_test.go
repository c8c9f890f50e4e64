//go:build linux

package integration

import (
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"tshx/internal/lab"
)

// globalFlag is one in what `kubectl options` prints, with its default.
var globalFlag = regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[a-z-]+)=(.*):$`)

// elsewhere are the flags with which kubectl leaves the context's cluster or user,
// so that tshx has no say. TestInvocation has them.
var elsewhere = []string{"-s", "--server", "--cluster", "--user"}

// TestKubectlFlags: tshx kubectl knows of each flag of all commands whether what
// follows is its value, and so which word is the command. One that needs the
// cluster ends with tshx here, whose certificate has expired, and `config` does
// not.
func TestKubectlFlags(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	c := kubeModern.get(t)
	tr, err := c.login(at("localhost", c.direct), lab.HomeOptions{})
	check(t, err)
	const config = "config" // also what the file and its context are called, for the flags that name them
	dir := t.TempDir()
	o := tr.options()
	o.env = append(append(o.env, kubeEnv(t)...), "KUBECONFIG="+filepath.Join(dir, config))
	execute(t, o, tshxPath, "kube", "login", kubeDemo, "--set-context-name", config)
	check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{TTL: -time.Hour}))

	found := globalFlag.FindAllStringSubmatch(execute(t, o, kubernetes.get(t).Kubectl, "options"), -1)
	if len(found) < 20 {
		t.Fatalf("kubectl has no more flags than %q", found)
	}
	for _, f := range found {
		takes := f[3] != "true" && f[3] != "false"
		for _, name := range f[1:3] {
			if name == "" || slices.Contains(elsewhere, name) {
				continue
			}
			p := launch(t, o, "sh", "-c", `cd "$0" && exec "$@"`, dir, tshxPath, "kubectl", name, config, "get", "pods")
			if got := p.wait() == codeLogin; got != takes {
				t.Errorf("%s takes a value: %v, and tshx says %v", name, takes, got)
			}
		}
	}
}
