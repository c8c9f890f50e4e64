package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/lab"
	"tshx/internal/profile"
)

// credential is the file with certificate and key.
func (k *kubeLab) credential(name string) string {
	return k.paths.Pair(profile.LayoutV17, profile.KindKube, "lab.example.com", name).Cert
}

// A logout leaves what was there before the login.
func TestKubeLogout(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, ownKubeconfig, "demo", "other")
	k.must("kube", "login", "demo")
	k.must("kube", "login", "demo", "--set-context-name=two")
	k.must("kube", "login", "other")
	copied := k.paths.KubeConfig("lab.example.com", "demo")
	want := "removed: context lab.example.com-demo of " + k.config + "\nremoved: context two of " + k.config +
		"\nremoved: " + k.credential("demo") + "\nremoved: " + copied + "\n"
	if d := cmp.Diff(want, k.must("kube", "logout", "demo")); d != "" {
		t.Error(d)
	}
	if k.exists(k.credential("demo")) || k.exists(copied) || !k.exists(k.credential("other")) {
		t.Error("the wrong files are gone")
	}
	config := k.load(k.config)
	if config.CurrentContext != "lab.example.com-other" || len(config.Contexts) != 2 || len(config.Clusters) != 2 || len(config.AuthInfos) != 2 {
		t.Errorf("%+v", config)
	}
	k.must("kube", "logout") // the only one left
	if config := k.load(k.config); config.CurrentContext != "mine" || len(config.Contexts) != 1 {
		t.Errorf("%+v", config)
	}
	for line, want := range map[string]string{
		"kube logout other": `tshx: nothing to remove: kube cluster "other" certificate not found (` + k.credential("other") + ")\n",
		"kube logout":       "tshx: nothing to remove: kube certificate not found (" + filepath.Dir(k.credential("x")) + ")\n",
	} {
		code, out, talk := k.tshx(strings.Fields(line)...)
		if code != 0 || out != "" || talk != want {
			t.Errorf("%s: exit code %d, %s%s", line, code, out, talk)
		}
	}
}

// Each file that a login was written to is looked into, and no other is touched.
func TestKubeLogoutFiles(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	first, second, readOnly := k.config+"1", k.config+"2", k.config+"3"
	for _, path := range []string{first, second} {
		t.Setenv("KUBECONFIG", path)
		k.must("kube", "login", "demo")
	}
	k.write(readOnly, ownKubeconfig)
	if err := os.Chmod(readOnly, 0o400); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", strings.Join([]string{first, readOnly, k.config, second}, string(filepath.ListSeparator)))
	out := k.must("kube", "logout", "demo")
	for _, path := range []string{first, second} {
		if !strings.Contains(out, "removed: context lab.example.com-demo of "+path+"\n") || len(k.load(path).Contexts) != 0 {
			t.Errorf("%s: %s", path, out)
		}
	}
	if k.exists(k.config) || k.exists(readOnly+".lock") || k.read(readOnly) != ownKubeconfig {
		t.Error("another file was touched")
	}
}

// Only this proxy's, Teleport cluster's and Kubernetes cluster's contexts go.
func TestKubeLogoutOthers(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	k.must("kube", "login", "demo")
	ours := k.read(k.config)
	for _, edit := range [][2]string{
		{"extension: localhost", "extension: proxy.example.com"},
		{"extension: lab.example.com", "extension: leaf.example.com"},
		{"extension: demo", "extension: other"},
	} {
		k.write(k.config, strings.ReplaceAll(ours, edit[0], edit[1]))
		before := k.read(k.config)
		if err := k.lab.WriteHome(k.home, k.lab.Addr, lab.HomeOptions{}); err != nil {
			t.Fatal(err)
		}
		out := k.must("kube", "logout", "demo")
		if strings.Contains(out, "context") || !strings.Contains(out, k.credential("demo")) || k.read(k.config) != before {
			t.Errorf("%s: %s", edit[1], out)
		}
	}
}

// What fails, or is not there, keeps nothing else.
func TestKubeLogoutParts(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{TTL: time.Hour}, ownKubeconfig, "demo")
	k.must("kube", "login", "demo")
	if err := os.Remove(k.credential("demo")); err != nil {
		t.Fatal(err)
	}
	if out := k.must("kube", "logout"); !strings.HasPrefix(out, "removed: context lab.example.com-demo of ") || !strings.Contains(out, "-kubeconfig\n") {
		t.Errorf("%s", out)
	}

	// An expired certificate goes like any other, beside a broken file and one
	// that cannot be edited.
	if err := k.lab.WriteHome(k.home, k.lab.Addr, lab.HomeOptions{TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	broken, readOnly := k.config+"1", k.config+"2"
	t.Setenv("KUBECONFIG", readOnly)
	k.must("kube", "login", "demo")
	if err := os.Chmod(readOnly, 0o400); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", k.config)
	k.must("kube", "login", "demo")
	if err := k.lab.WriteHome(k.home, k.lab.Addr, lab.HomeOptions{TTL: -time.Hour}); err != nil {
		t.Fatal(err)
	}
	k.write(broken, "a: b: c")
	t.Setenv("KUBECONFIG", strings.Join([]string{broken, readOnly, k.config}, string(filepath.ListSeparator)))
	code, out, talk := k.tshx("kube", "logout", "demo")
	if code != exitFailure || !strings.Contains(out, "removed: context lab.example.com-demo of "+k.config+"\n") ||
		!strings.Contains(out, "removed: "+k.credential("demo")+"\n") || strings.Contains(out, readOnly) {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if strings.Count(talk, "\n") != 1 || !strings.Contains(talk, broken+": ") || !strings.Contains(talk, readOnly+": permission denied") {
		t.Errorf("%s", talk)
	}
}

// An identity file keeps its certificate; the context goes.
func TestKubeLogoutIdentity(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, ownKubeconfig, "demo")
	file := k.identity(lab.HomeOptions{Kube: "demo"})
	k.must("kube", "login", "demo", "-i", file, "--proxy", k.lab.Addr)
	if out := k.must("kube", "logout", "-i", file, "--proxy", k.lab.Addr); out != "removed: context lab.example.com-demo of "+k.config+"\n" {
		t.Errorf("%s", out)
	}
	code, out, talk := k.tshx("kube", "logout", "-i", file, "--proxy", k.lab.Addr)
	if code != exitFailure || out != "" || talk != "tshx: "+file+": an identity file holds its certificates for good\n" {
		t.Errorf("exit code %d, %s%s", code, out, talk)
	}
}
