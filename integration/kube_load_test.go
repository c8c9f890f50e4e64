//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestKubeParallel: forty kubectl at the same time each get their answer.
func TestKubeParallel(t *testing.T) {
	const many = 40
	for _, name := range []string{"raw", "websocket nginx", "legacy nginx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			s, _ := kubeProxy(t, kubeTransport(t, name), kubeDemo)
			script := fmt.Sprintf("seq %d | xargs -P %[1]d -I{} kubectl get namespace default -o name", many)
			got := lines(execute(t, s.options(t), "sh", "-c", script))
			if len(got) != many || slices.ContainsFunc(got, func(l string) bool { return l != "namespace/default" }) {
				t.Errorf("%d answers: %q", len(got), got)
			}
		})
	}
}

// TestKubeApplyMany: each of five hundred objects that were applied is there.
func TestKubeApplyMany(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	const many = 500
	s, _ := kubeProxy(t, kubeTransport(t, "websocket nginx"), kubeDemo)
	direct := kubeDirect(t)
	namespace := direct.newNamespace(t)
	var objects strings.Builder
	want := map[string]string{}
	for n := range many {
		name := fmt.Sprintf("object-%d", n)
		want[name] = fmt.Sprintf("word-%d", n)
		objects.WriteString("---\n" + configMap(name, want[name]))
	}
	path := filepath.Join(t.TempDir(), "objects.yaml")
	check(t, os.WriteFile(path, []byte(objects.String()), 0o600))
	said := s.run(t, "apply", "--server-side", "--namespace", namespace, "-f", path)
	if n := strings.Count(said, " serverside-applied\n"); n != many {
		t.Errorf("kubectl applied %d", n)
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Data     struct{ Word string }
		}
	}
	check(t, json.Unmarshal([]byte(direct.run(t, "get", "configmaps", "--namespace", namespace, "-o", "json")), &list))
	for _, o := range list.Items {
		if want[o.Metadata.Name] == o.Data.Word {
			delete(want, o.Metadata.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("of %d objects, these are not there: %v", many, want)
	}
}

// kubeTransport returns one of kubeTransports.
func kubeTransport(t testing.TB, name string) *transport {
	t.Helper()
	return pick(t, kubeTransports, name)
}
