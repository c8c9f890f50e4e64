package kubeconfig

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// documents returns the paths of kubeconfigs as other tools write them.
func documents(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/edit/*.*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	return paths
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func content(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestLoadAgrees holds Load against clientcmd, for single files and for lists in
// which names repeat, files are missing and settings differ.
func TestLoadAgrees(t *testing.T) {
	all := documents(t)
	lists := [][]string{all, append([]string{"testdata/missing"}, all...)}
	for i, path := range all {
		lists = append(lists, []string{path}, []string{path, all[(i+3)%len(all)], "testdata/missing"})
	}
	for _, list := range lists {
		got, err := Load(list)
		if err != nil {
			t.Fatalf("%v: %v", list, err)
		}
		rules := clientcmd.ClientConfigLoadingRules{Precedence: list}
		want, err := rules.Load()
		if err != nil {
			t.Fatalf("%v: %v", list, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: not as clientcmd reads it (-want +got)\n%s", list, diff)
		}
	}
}

// TestLoadResolves shows that relative paths are those of their file, also when
// the file's own path is relative.
func TestLoadResolves(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("k", 0o700); err != nil {
		t.Fatal(err)
	}
	path := write(t, "k/config", `
clusters: [{name: a, cluster: {certificate-authority: ca.pem}}]
users:
- {name: files, user: {client-certificate: ../c.pem, client-key: /abs/k.pem, tokenFile: t}}
- {name: path, user: {exec: {command: ./plugin, apiVersion: v1}}}
- {name: word, user: {exec: {command: plugin, apiVersion: v1}}}
`)
	c, err := Load([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	u := c.AuthInfos
	got := []string{c.Clusters["a"].CertificateAuthority, u["files"].ClientCertificate, u["files"].ClientKey,
		u["files"].TokenFile, u["path"].Exec.Command, u["word"].Exec.Command}
	dir, err = os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{dir + "/k/ca.pem", dir + "/c.pem", "/abs/k.pem", dir + "/k/t", dir + "/k/plugin", "plugin"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLoadBroken(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		line       int
		want       string
	}{
		{"syntax", "apiVersion: v1\nclusters:\n- cluster: {\n", 3, "did not find expected node content"},
		{"tab", "a: b\n\tc: d\n", 2, "found a tab character"},
		{"list", "- a\n", 1, "the document: wants a mapping, has a list"},
		{"text", "hello", 1, "the document: wants a mapping, has a string"},
		{"kind", "apiVersion: v1\nkind: Pod\n", 2, `kind is "Pod", not Config`},
		{"version", "\napiVersion: v2\n", 2, `apiVersion is "v2", not v1`},
		{"no list", "kind: Config\nclusters: x\n", 2, "clusters: wants a list, has a string"},
		{"number", "users:\n- name: a\n  user:\n    token: 123\n", 4, "users.user.token: wants a string, has a number"},
		{"old boolean", "contexts:\n- name: a\n- name: no\n", 3, "contexts.name: wants a string, has true or false"},
		{"no boolean", "clusters:\n- cluster:\n    insecure-skip-tls-verify: \"true\"\n", 3, "wants true or false, has a string"},
		{"base64", "users:\n- user: {}\n- user:\n    client-key-data: '*secret*'\n", 4, "users.user.client-key-data: is no base64"},
		{"map", "users:\n- user: {auth-provider: {config: {\n  a: [1]}}}\n", 3, "users.user.auth-provider.config.a: wants a string, has a list"},
		{"twice", "users:\n- name: a\n  user: {token: secret}\n- name: a\n", 4, `the name "a" appears twice in users`},
		{"extension twice", "contexts: [{name: a, context: {extensions: [{name: x, extension: secret}, {name: x}]}}]", 0, "the name of an extension appears twice"},
		{"alias", "users: &x\n- name: a\n  user: *x\n", 0, "anchor 'x' value contains itself"},
		{"null key", "a: {~: secret}", 0, "a mapping has a key that is no string"},
		{"mapping key", "? {token: secret}\n: b", 0, "a mapping has a key that is no string"},
		{"control", "a: \x01", 0, "control characters are not allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			good := write(t, filepath.Join(dir, "good"), "current-context: x")
			bad := write(t, filepath.Join(dir, "bad"), tt.text)
			if _, err := clientcmd.LoadFromFile(bad); err == nil {
				t.Error("clientcmd reads it")
			}
			_, err := Load([]string{good, bad})
			var broken *ParseError
			if !errors.As(err, &broken) {
				t.Fatalf("error %v, want a ParseError", err)
			}
			if broken.Path != bad || broken.Line != tt.line || !strings.Contains(broken.Error(), tt.want) {
				t.Errorf("error %q with line %d, want line %d and %q", broken, broken.Line, tt.line, tt.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q has a value of the file", err)
			}
		})
	}
	t.Run("all are named", func(t *testing.T) {
		dir := t.TempDir()
		a, b := write(t, filepath.Join(dir, "a"), "{"), write(t, filepath.Join(dir, "b"), "[")
		_, err := Load([]string{a, b, dir})
		for _, path := range []string{a + ": ", b + ": ", "read " + dir + ": "} {
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v does not name %q", err, path)
			}
		}
	})
}

// TestPaths has the rule of kubectl config for the file to write, which it asks
// clientcmd for.
func TestPaths(t *testing.T) {
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	one, two := write(t, filepath.Join(dir, "one"), ""), write(t, filepath.Join(dir, "two"), "")
	gone, lost := filepath.Join(dir, "gone"), filepath.Join(dir, "lost")
	for _, tt := range []struct {
		name string
		list []string
		read []string
	}{
		{"default", nil, []string{filepath.Join(home, ".kube/config")}},
		{"one", []string{gone}, []string{gone}},
		{"first that exists", []string{gone, one, two}, []string{gone, one, two}},
		{"none exists", []string{gone, lost}, []string{gone, lost}},
		{"twice and empty", []string{"", two, one, two}, []string{two, one}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			value := strings.Join(tt.list, string(os.PathListSeparator))
			t.Setenv("KUBECONFIG", value)
			got := Paths(os.Getenv, home)
			options := clientcmd.PathOptions{
				GlobalFile: filepath.Join(home, ".kube/config"), EnvVar: "KUBECONFIG",
				LoadingRules: &clientcmd.ClientConfigLoadingRules{},
			}
			want := Files{Read: tt.read, Write: options.GetDefaultFilename()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// same compares configurations, whose entries cannot tell nil from empty.
func same(t *testing.T, what string, want, got *api.Config) {
	t.Helper()
	w, err := treeOf(want)
	if err != nil {
		t.Fatal(err)
	}
	g, err := treeOf(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}
