package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/client-go/tools/clientcmd"

	"tshx/internal/lab"
)

// ls is the answer in JSON, without the times.
func (k *kubeLab) ls(args ...string) []listedKube {
	k.t.Helper()
	var list []listedKube
	if err := json.Unmarshal([]byte(k.must(append([]string{"kube", "ls", "--format=json"}, args...)...)), &list); err != nil {
		k.t.Fatal(err)
	}
	for i := range list {
		if end := list[i].Expires; end == nil || end.Location() != time.UTC || time.Until(*end).Abs() > 13*time.Hour {
			k.t.Errorf("expires %v", end)
		}
		list[i].Expires = nil
	}
	return list
}

// listed is a cluster of the lab in the list.
func listed(name, context string, selected bool) listedKube {
	k := listedKube{Name: name, Labels: map[string]string{}, Selected: selected, Cluster: "lab.example.com", Users: []string{"alice"}, Groups: []string{"system:masters"}, Valid: true}
	if context != "" {
		k.Context = &context
	}
	return k
}

func isList(t *testing.T, got []listedKube, want ...listedKube) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(listedKube{})); d != "" {
		t.Error(d)
	}
}

// The list knows which contexts logins wrote, and where kubectl goes.
func TestKubeList(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, ownKubeconfig, "demo", "other")
	isList(t, k.ls(), listed("demo", "", false), listed("other", "", false))
	k.must("kube", "login", "demo")
	k.must("kube", "login", "other")
	isList(t, k.ls(), listed("demo", "lab.example.com-demo", false), listed("other", "lab.example.com-other", true))
	k.must("kube", "login", "demo", "--set-context-name=zz") // the current one counts, not the first
	isList(t, k.ls(), listed("demo", "zz", true), listed("other", "lab.example.com-other", false))
	isList(t, k.ls("-c", "leaf"))

	// One of another login is not of this cluster's, whatever it is called.
	k.write(k.config, strings.ReplaceAll(k.read(k.config), "localhost", "proxy.example.com"))
	isList(t, k.ls(), listed("demo", "", false), listed("other", "", false))
}

// The keys are stable, and none is left out.
func TestKubeListFormats(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{KubeUsers: []string{}, KubeGroups: []string{"a", "b"}}, ownKubeconfig, "demo")
	k.must("kube", "login", "demo", "-n", "apps")
	asJSON, asYAML := k.must("kube", "ls", "-f", "json"), k.must("kube", "ls", "-f", "yaml")
	expires := between(asJSON, `"expires": "`, `"`)
	want := `[
  {
    "kube_cluster_name": "demo",
    "labels": {},
    "selected": true,
    "cluster": "lab.example.com",
    "users": [],
    "groups": [
      "a",
      "b"
    ],
    "expires": "` + expires + `",
    "valid": true,
    "context": "lab.example.com-demo"
  }
]
`
	if d := cmp.Diff(want, asJSON); d != "" {
		t.Error(d)
	}
	want = `- kube_cluster_name: demo
  labels: {}
  selected: true
  cluster: lab.example.com
  users: []
  groups:
    - a
    - b
  expires: ` + expires + `
  valid: true
  context: lab.example.com-demo
`
	if d := cmp.Diff(want, asYAML); d != "" {
		t.Error(d)
	}
	want = `NAME  USERS  GROUPS  CLUSTER          CONTEXT               SELECTED  TIME LEFT
demo  -      a,b     lab.example.com  lab.example.com-demo  *         12 hours
`
	if d := cmp.Diff(want, k.must("kube", "ls")); d != "" {
		t.Error(d)
	}
	k.must("kube", "logout", "demo")
	if got := k.must("kube", "ls", "-f", "json"); got != "[]\n" {
		t.Errorf("%s", got)
	}
	code, out, talk := k.tshx("kube", "ls")
	if code != 0 || out != "" || talk != "tshx: no certificate for a Kubernetes cluster; run: tsh kube login NAME\n" {
		t.Errorf("exit code %d, %s%s", code, out, talk)
	}
}

func between(s, start, end string) string {
	_, s, _ = strings.Cut(s, start)
	s, _, _ = strings.Cut(s, end)
	return s
}

// Certificates that cannot be used are listed too.
func TestKubeListExpired(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{TTL: -time.Hour}, "", "demo")
	want := listed("demo", "", false)
	want.Valid = false
	isList(t, k.ls(), want)
	if out := k.must("kube", "ls"); !strings.HasSuffix(out, " expired\n") {
		t.Errorf("%s", out)
	}
}

// A broken kubeconfig has no contexts, and takes nothing else with it.
func TestKubeListBrokenKubeconfig(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "clusters: 1\n", "demo")
	code, out, talk := k.tshx("kube", "ls", "-f", "json")
	if code != 0 || !strings.Contains(out, `"context": null`) || !strings.Contains(out, `"kube_cluster_name": "demo"`) {
		t.Errorf("exit code %d, %s", code, out)
	}
	want := "tshx: warning: no contexts are known: " + k.config + ": line 1: clusters: wants a list, has a number; correct it, or set KUBECONFIG to another file\n"
	if d := cmp.Diff(want, talk); d != "" {
		t.Error(d)
	}
}

// Behind a local proxy kubectl goes to the cluster without a login's context.
func TestKubeListBehindLocalProxy(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	k.must("kube", "login", "demo")
	config := k.load(k.config)
	user := config.AuthInfos["lab.example.com-demo"]
	user.Exec, user.Token = nil, "of the local proxy"
	if err := clientcmd.WriteToFile(*config, k.config); err != nil {
		t.Fatal(err)
	}
	isList(t, k.ls(), listed("demo", "", true))
	if out := k.must("kube", "logout", "demo"); strings.Contains(out, "context") { // the proxy's own business
		t.Errorf("%s", out)
	}
}
