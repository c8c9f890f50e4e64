package kubeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// TestEditHoldsLock has clientcmd, as in kubectl and helm, edit the file during
// an edit of ours: it must find its own lock taken, and free afterwards.
func TestEditHoldsLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	theirs := func() error {
		options := clientcmd.PathOptions{LoadingRules: &clientcmd.ClientConfigLoadingRules{ExplicitPath: path}}
		c := clientcmd.GetConfigFromFileOrDie(path)
		c.Contexts["theirs"] = &api.Context{Cluster: "c"}
		return clientcmd.ModifyConfig(&options, *c, false)
	}
	write(t, path, "kind: Config\n")
	err := Edit(t.Context(), path, func(c *api.Config) error {
		if err := theirs(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("clientcmd during an edit: %v", err)
		}
		return login(c)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs(); err != nil {
		t.Errorf("clientcmd after an edit: %v", err)
	}
	c, err := Load([]string{path})
	if err != nil || len(c.Contexts) != 2 {
		t.Errorf("%v, %v", c, err)
	}
}

func TestEditParallel(t *testing.T) {
	const logins = 8
	path := filepath.Join(t.TempDir(), "config")
	var all sync.WaitGroup
	for i := range logins {
		all.Go(func() {
			err := Edit(t.Context(), path, func(c *api.Config) error {
				e := realkube()
				e.KubeCluster = fmt.Sprint("kube", i)
				return Login(c, e, false)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	c, err := Load([]string{path})
	if err != nil || len(c.Contexts) != logins {
		t.Errorf("%v, %v", c, err)
	}
}
