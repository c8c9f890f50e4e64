//go:build linux

package integration

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"
)

// TestKubeNames: one proxy leads to many clusters, whatever they are called, and
// each context to its own.
func TestKubeNames(t *testing.T) {
	for _, name := range []string{"raw", "legacy nginx"} { // which differ in the files of a login, too
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			tr := kubeTransport(t, name)
			p := tr.start(t, append([]string{"proxy", "kube", "--format", "json"}, kubeMarks...)...)
			var said struct {
				Kubeconfig string
				Contexts   []struct {
					Cluster, Context string
					KubeCluster      string `json:"kube_cluster"`
				}
			}
			check(t, json.Unmarshal([]byte("{"+p.lineAfter("{")), &said))
			s := kubeSession{transport: tr, config: said.Kubeconfig}
			found := make(map[string]string)
			for _, c := range said.Contexts {
				found[c.KubeCluster] = c.Context
				if c.Cluster != tr.cluster {
					t.Errorf("%+v", c)
				}
			}
			if len(found) != len(kubeMarks) || len(said.Contexts) != len(kubeMarks) {
				t.Fatalf("%d contexts for %d clusters: %v", len(said.Contexts), len(kubeMarks), found)
			}
			var all sync.WaitGroup
			turn := make(chan struct{}, 4) // more at once only take longer
			for _, name := range kubeMarks {
				all.Go(func() {
					turn <- struct{}{}
					defer func() { <-turn }()
					k := s.start(t, "--context", found[name], "auth", "whoami", "-o", "json")
					if code := k.wait(); code != 0 {
						t.Errorf("%s: exit code %d", name, code)
						return
					}
					if got := whoami(t, k.stdout.String()).Extra[kubeMark]; !slices.Equal(got, []string{name}) {
						t.Errorf("context %s leads to %q", found[name], got)
					}
				})
			}
			all.Wait()
		})
	}
}
