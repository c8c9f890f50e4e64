package kubeconfig

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	kyaml "sigs.k8s.io/yaml"
)

var updateGolden = flag.Bool("update", false, "write golden files")

// golden compares got with the file at path.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *updateGolden {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(content(t, path), got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", path, diff)
	}
}

// realkube is the login of testdata/edit/tsh14.yaml, as ours writes it.
func realkube() Entry {
	return Entry{
		Profile: "localhost", TeleportCluster: "real.example.com", KubeCluster: "realkube",
		Server: "https://localhost:3080", ServerName: "kube-teleport-proxy-alpn.localhost", CA: []byte("CA"),
		Command: "/usr/bin/tshx",
		Args:    []string{"kube", "credentials", "--kube-cluster=realkube", "--teleport-cluster=real.example.com", "--proxy=localhost:3080"},
		Env:     []api.ExecEnvVar{{Name: "TELEPORT_HOME", Value: "yes"}},
	}
}

func login(c *api.Config) error { return Login(c, realkube(), true) }

func logout(c *api.Config) error {
	Logout(c, func(Entry) bool { return true })
	return nil
}

// generic is a document without what client-go knows of it.
func generic(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := kyaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	if v == nil {
		v = map[string]any{}
	}
	return v
}

// TestEditDocuments logs in and out in files of other tools. What is in them
// then must be the golden file, in the eyes of clientcmd the same with our
// entries, and after the logout as before, with all that clientcmd does not know.
func TestEditDocuments(t *testing.T) {
	for _, source := range documents(t) {
		t.Run(filepath.Base(source), func(t *testing.T) {
			path := write(t, filepath.Join(t.TempDir(), "config"), content(t, source))
			want, err := clientcmd.LoadFromFile(source)
			if err != nil {
				t.Fatal(err)
			}
			if err := login(want); err != nil {
				t.Fatal(err)
			}
			if err := Edit(t.Context(), path, login); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata/login", filepath.Base(source)), content(t, path))
			got, err := clientcmd.LoadFromFile(path)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "after login", want, got)

			if err := Edit(t.Context(), path, logout); err != nil {
				t.Fatal(err)
			}
			before, after := generic(t, content(t, source)), generic(t, content(t, path))
			if strings.HasPrefix(filepath.Base(source), "tsh14") {
				if text := content(t, path); strings.Contains(text, "real") {
					t.Errorf("left after the logout:\n%s", text)
				}
				return
			}
			for _, doc := range []map[string]any{before, after} { // the same to all readers
				for key, value := range doc {
					if list, ok := value.([]any); value == nil || value == "" || ok && len(list) == 0 {
						delete(doc, key)
					}
				}
				delete(doc, "kind")
				delete(doc, "apiVersion")
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("after login and logout (-before +after)\n%s", diff)
			}
		})
	}
}

func TestEditLineEnds(t *testing.T) {
	text := strings.ReplaceAll(content(t, "testdata/edit/gke.yaml"), "\n", "\r\n")
	path := write(t, filepath.Join(t.TempDir(), "config"), text)
	if err := Edit(t.Context(), path, login); err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(content(t, "testdata/login/gke.yaml"), "\n", "\r\n")
	if diff := cmp.Diff(want, content(t, path)); diff != "" {
		t.Error(diff)
	}
}

// TestEditForeign changes a field of somebody else's entry, in a context that is
// an alias of another; what is unknown in it stays.
func TestEditForeign(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"unknown field",
			"contexts:\n- context:\n    color: red # mine\n    cluster: c\n    namespace: old\n    user: u\n  name: a\n  extra: [1]\n",
			"contexts:\n- context:\n    color: red # mine\n    cluster: c\n    namespace: new\n    user: u\n  name: a\n  extra: [1]\n"},
		{"alias",
			"contexts:\n- {name: b, context: &x {cluster: c, user: u}}\n- name: a\n  context: *x\n",
			"contexts:\n- {name: b, context: &x {cluster: c, user: u}}\n- name: a\n  context: {cluster: c, namespace: new, user: u}\n"},
		{"no name", "contexts:\n- context: {color: red, cluster: c}\n- name: a\n  context: {user: u}\n",
			"contexts:\n- context: {color: red, cluster: c}\n- name: a\n  context: {namespace: new, user: u}\n"},
		{"json", `{"contexts":[{"name":"a","color":"red","context":{}}]}`,
			`{"contexts":[{"name":"a","color":"red","context":{"namespace":"new"}}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, filepath.Join(t.TempDir(), "config"), tt.text)
			err := Edit(t.Context(), path, func(c *api.Config) error {
				c.Contexts["a"].Namespace = "new"
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, content(t, path)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEditRefuses has files that cannot be edited: they stay as they are, without
// a lock and without leftovers.
func TestEditRefuses(t *testing.T) {
	broken := errors.New("change failed")
	for _, tt := range []struct {
		name, text string
		change     func(*api.Config) error
		want       string
	}{
		{"broken", "clusters: {", login, "line 1: did not find expected node content"},
		{"documents", "kind: Config\n---\nkind: Config\n", login, "more than one YAML document"},
		{"list that is an anchor of others", "mine: &x\n- {name: a, user: {token: t}}\nusers: *x\ncontexts: [{name: a, context: {user: a}}]\nclusters: &y [{name: z}]\nother: *y\n", func(c *api.Config) error {
			delete(c.Clusters, "z")
			return nil
		}, "without harm to other entries"},
		{"field that comes from a merge", "x: &x {namespace: apps}\ncontexts:\n- {name: a, context: {<<: *x, user: u}}\n", func(c *api.Config) error {
			c.Contexts["a"].Namespace = ""
			return nil
		}, "without harm to other entries"},
		{"change", "kind: Config\n", func(c *api.Config) error { return broken }, "change failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := write(t, filepath.Join(dir, "config"), tt.text)
			err := Edit(t.Context(), path, tt.change)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if content(t, path) != tt.text {
				t.Errorf("the file is now %q", content(t, path))
			}
			onlyFiles(t, dir, "config")
		})
	}
}

// onlyFiles fails the test if a directory has other files than names.
func onlyFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if diff := cmp.Diff(names, have); diff != "" {
		t.Errorf("files (-want +got)\n%s", diff)
	}
}

func TestEditNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ".kube", "config")
	if err := Edit(t.Context(), path, logout); err != nil {
		t.Fatal(err)
	}
	onlyFiles(t, dir)

	text := content(t, "testdata/edit/oidc.yaml")
	path = write(t, filepath.Join(dir, "config"), text)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Edit(t.Context(), path, logout); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) || content(t, path) != text {
		t.Errorf("the file was written: %v", err)
	}
	onlyFiles(t, dir, "config")
}

func TestEditTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	for range 2 {
		if err := Edit(t.Context(), path, login); err != nil {
			t.Fatal(err)
		}
		golden(t, "testdata/login/empty.yaml", content(t, path))
	}
}

func TestEditModes(t *testing.T) {
	mode := func(path string) fs.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "config")
	if err := Edit(t.Context(), path, login); err != nil {
		t.Fatal(err)
	}
	if mode(path) != 0o600 || mode(dir) != 0o700 || mode(filepath.Dir(dir)) != 0o700 {
		t.Errorf("modes of a new file and its directories: %o %o %o", mode(path), mode(dir), mode(filepath.Dir(dir)))
	}
	old := write(t, filepath.Join(dir, "old"), "contexts: [{name: a}]")
	if err := os.Chmod(old, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Edit(t.Context(), old, login); err != nil {
		t.Fatal(err)
	}
	if mode(old) != 0o640 || mode(old+backupSuffix) != 0o600 {
		t.Errorf("modes of an edited file and its backup: %o %o", mode(old), mode(old+backupSuffix))
	}
	if err := os.Chmod(old, 0o440); err != nil {
		t.Fatal(err)
	}
	if err := Edit(t.Context(), old, logout); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("edit of a read-only file: %v", err)
	}
	if err := Edit(t.Context(), dir, logout); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("edit of a directory: %v", err)
	}
}

func TestEditLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "real"), filepath.Join(dir, "config")
	for _, text := range []string{"", "contexts: [{name: a}]"} { // to nowhere, to a file
		if text != "" {
			write(t, target, text)
		}
		os.Remove(link)
		if err := os.Symlink("real", link); err != nil {
			t.Fatal(err)
		}
		if err := Edit(t.Context(), link, login); err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink(link); err != nil || to != "real" {
			t.Errorf("the link is now %q, %v", to, err)
		}
		if !strings.Contains(content(t, target), "realkube") {
			t.Errorf("the link's target is %q", content(t, target))
		}
	}
	onlyFiles(t, dir, "config", "config"+backupSuffix, "real")
}

// TestEditLock has another program's lock, found and gone in time, found and not,
// and an end of the wait by the caller.
func TestEditLock(t *testing.T) {
	for _, tt := range []struct {
		name   string
		remove bool
		cancel bool
	}{{"gone in time", true, false}, {"stays", false, false}, {"canceled", false, true}} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, filepath.Join(t.TempDir(), "config"), "current-context: x\n")
			held := write(t, path+".lock", "")
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := t.Context(), func() {}
				if tt.cancel {
					ctx, cancel = contextWithCancel(ctx)
				}
				start := time.Now()
				go func() {
					time.Sleep(3 * time.Second)
					if tt.remove {
						os.Remove(held)
					}
					cancel()
				}()
				err := Edit(ctx, path, login)
				waited := time.Since(start)
				var locked *LockedError
				switch {
				case tt.remove && (err != nil || waited < 3*time.Second):
					t.Errorf("%v after %v", err, waited)
				case tt.cancel && (!errors.Is(err, errGone) || waited != 3*time.Second):
					t.Errorf("%v after %v", err, waited)
				case !tt.remove && !tt.cancel && (!errors.As(err, &locked) || locked.Path != held || waited < lockWait):
					t.Errorf("%v after %v", err, waited)
				}
			})
			_, err := os.Stat(held)
			if tt.remove != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the lock: %v", err)
			}
		})
	}
}

// TestEditBackup follows one file: the backup is the file as it was before the
// login, and a file that is all ours has none.
func TestEditBackup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	saved := path + backupSuffix
	step := func(change func(*api.Config) error) {
		t.Helper()
		if err := Edit(t.Context(), path, change); err != nil {
			t.Fatal(err)
		}
	}
	step(login)
	step(func(c *api.Config) error { return Login(c, other(), true) })
	if _, err := os.Stat(saved); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file with nothing but logins has a backup: %v", err)
	}
	first := content(t, "testdata/edit/gke.yaml")
	write(t, path, first)
	step(login)
	step(func(c *api.Config) error { return Login(c, other(), true) })
	if diff := cmp.Diff(first, content(t, saved)); diff != "" {
		t.Errorf("backup after two logins\n%s", diff)
	}
	step(logout)
	second := content(t, path) + "# and more\n"
	write(t, path, second)
	step(login)
	if diff := cmp.Diff(second, content(t, saved)); diff != "" {
		t.Errorf("backup after a logout and a login\n%s", diff)
	}
}
