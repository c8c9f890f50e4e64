package profile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Only what belongs to the one database goes, in every layout, valid or not.
func TestRemoveDB(t *testing.T) {
	for name, layout := range map[string]Layout{"v13": LayoutV13, "v17": LayoutV17} {
		t.Run(name, func(t *testing.T) {
			h, key := newHome(t), newKey()
			h.login(layout, key, pkcs8(key))
			for _, db := range []string{"pg", "pg2"} {
				h.tls(layout, KindDB, db, key, pkcs8(key), withDB(db))
			}
			p := h.load()
			gone, stays := h.paths.Pair(layout, KindDB, p.Cluster, "pg"), h.paths.Pair(layout, KindDB, p.Cluster, "pg2")
			wallet := filepath.Join(h.paths.ClusterDir(KindDB, p.Cluster), "pg-wallet")
			check(t, os.MkdirAll(filepath.Join(wallet, "deep"), 0o700))
			want := []string{gone.Cert, gone.Key, wallet}
			if layout == LayoutV13 {
				want = []string{gone.Cert, wallet} // the key is the login's
			}
			removed, err := p.RemoveDB("pg")
			check(t, err)
			if d := cmp.Diff(want, removed); d != "" {
				t.Error(d)
			}
			for _, path := range want {
				if _, err := os.Lstat(path); !os.IsNotExist(err) {
					t.Errorf("%s is still there: %v", path, err)
				}
			}
			for _, path := range []string{stays.Cert, stays.Key, h.paths.SSHKey()} {
				if _, err := os.Stat(path); err != nil {
					t.Error(err)
				}
			}
			// What is left of one goes without its certificate, too.
			check(t, os.Mkdir(wallet, 0o700))
			if removed, err := p.RemoveDB("pg"); err != nil || !cmp.Equal(removed, []string{wallet}) {
				t.Errorf("leftovers: %v, %v", removed, err)
			}
			var ce *CertError
			if removed, err := p.RemoveDB("pg"); !errors.As(err, &ce) || ce.Problem != Missing || removed != nil {
				t.Errorf("again: %v, %v", removed, err)
			}
		})
	}
}

// A Kubernetes cluster's certificate and key are one file, or the key is the
// login's. A kubeconfig is beside them.
func TestRemoveKube(t *testing.T) {
	for name, layout := range map[string]Layout{"v13": LayoutV13, "v17": LayoutV17} {
		t.Run(name, func(t *testing.T) {
			h, key := newHome(t), newKey()
			h.login(layout, key, pkcs8(key))
			for _, kube := range []string{"kube", "kube.2"} {
				h.tls(layout, KindKube, kube, key, pkcs8(key), withKube(kube))
				h.write(h.paths.KubeConfig(h.ca.cluster, kube), nil)
			}
			p := h.load()
			gone, stays := h.paths.Pair(layout, KindKube, p.Cluster, "kube"), h.paths.Pair(layout, KindKube, p.Cluster, "kube.2")
			removed, err := p.RemoveKube("kube")
			check(t, err)
			if d := cmp.Diff([]string{gone.Cert, h.paths.KubeConfig(p.Cluster, "kube")}, removed); d != "" {
				t.Error(d)
			}
			for _, path := range []string{stays.Cert, stays.Key, h.paths.KubeConfig(p.Cluster, "kube.2"), h.paths.SSHKey()} {
				if _, err := os.Stat(path); err != nil {
					t.Error(err)
				}
			}
			var ce *CertError
			if removed, err := p.RemoveKube("kube"); !errors.As(err, &ce) || ce.Problem != Missing || ce.Nearest != "kube.2" || removed != nil {
				t.Errorf("again: %v, %v", removed, err)
			}
		})
	}
}

// What cannot be removed keeps nothing else.
func TestRemoveGoesOn(t *testing.T) {
	h, key := newHome(t), newKey()
	h.login(LayoutV17, key, pkcs8(key))
	p := h.load()
	stuck := h.paths.Pair(LayoutV17, KindKube, p.Cluster, "kube").Cert
	h.write(filepath.Join(stuck, "file"), nil)
	copied := h.paths.KubeConfig(p.Cluster, "kube")
	h.write(copied, nil)
	removed, err := p.RemoveKube("kube")
	if d := cmp.Diff([]string{copied}, removed); d != "" || err == nil {
		t.Errorf("%v, %v", removed, err)
	}
	if _, err := os.Stat(filepath.Join(stuck, "file")); err != nil {
		t.Error(err)
	}
}

func TestRemoveDBRefuses(t *testing.T) {
	h, key := newHome(t), newKey()
	h.login(LayoutV17, key, pkcs8(key))
	p := h.load()
	for _, name := range []string{"", "..", "../../x", "/x"} {
		if _, err := p.RemoveDB(name); !errors.Is(err, ErrBadName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	p.IdentityFile = "identity"
	if _, err := p.RemoveDB("pg"); !errors.Is(err, ErrFixed) {
		t.Errorf("an identity file: %v", err)
	}
}

// An app's own files go, in either layout and without its certificate too, and
// neither those of another nor the key that all share.
func TestRemoveApp(t *testing.T) {
	for name, layout := range map[string]Layout{"v13": LayoutV13, "v17": LayoutV17} {
		t.Run(name, func(t *testing.T) {
			h, key := newHome(t), newKey()
			h.login(layout, key, pkcs8(key))
			for _, app := range []string{"web", "web2", "other-x509.pem"} {
				h.tls(layout, KindApp, app, key, pkcs8(key), withApp(app))
				h.write(h.paths.AppLocalCA(h.ca.cluster, app), nil)
			}
			h.write(h.paths.AppLocalCA(h.ca.cluster, "left"), nil)
			h.write(filepath.Join(h.paths.ClusterDir(KindApp, h.ca.cluster), "notes.txt"), nil)
			h.tls(layout, KindDB, "web", key, pkcs8(key), withDB("web"))
			p := h.load()
			names, err := p.RemovableApps()
			check(t, err)
			if d := cmp.Diff([]string{"left", "other-x509.pem", "web", "web2"}, names); d != "" {
				t.Error(d)
			}
			gone := h.paths.Pair(layout, KindApp, p.Cluster, "web")
			want := []string{gone.Cert, gone.Key, h.paths.AppLocalCA(p.Cluster, "web")}
			if layout == LayoutV13 {
				want = []string{gone.Cert, want[2]}
			}
			before := h.files()
			removed, err := p.RemoveApp("web")
			check(t, err)
			if d := cmp.Diff(want, removed); d != "" {
				t.Error(d)
			}
			left := h.files()
			for _, path := range want {
				delete(before, path)
			}
			if d := cmp.Diff(before, left); d != "" {
				t.Errorf("more is gone, or less:\n%s", d)
			}
			var ce *CertError
			if removed, err := p.RemoveApp("web"); !errors.As(err, &ce) || ce.Nearest != "web2" || removed != nil {
				t.Errorf("again: %v, %v", removed, err)
			}
		})
	}
}

// A cluster without apps has none to remove, and one with a bad name is not
// looked for.
func TestRemovableApps(t *testing.T) {
	p := newHome(t).load()
	if names, err := p.RemovableApps(); names != nil || err != nil {
		t.Errorf("%v, %v", names, err)
	}
	p.Cluster = "../x"
	if _, err := p.RemovableApps(); !errors.Is(err, ErrBadName) {
		t.Error(err)
	}
	p.IdentityFile = "identity"
	if _, err := p.RemovableApps(); !errors.Is(err, ErrFixed) {
		t.Error(err)
	}
}

// files are all that there are in the home.
func (h *home) files() map[string]bool {
	h.t.Helper()
	all := map[string]bool{}
	check(h.t, filepath.WalkDir(h.paths.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[path] = true
		}
		return err
	}))
	return all
}
