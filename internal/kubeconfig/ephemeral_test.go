package kubeconfig

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

func ephemeralOptions(kubes ...string) EphemeralOptions {
	o := EphemeralOptions{Profile: "localhost", ProxyURL: "http://127.0.0.1:18443"}
	for _, kube := range kubes {
		o.Clusters = append(o.Clusters, EphemeralCluster{
			TeleportCluster: "real.example.com", KubeCluster: kube,
			Server: "https://localhost:3080", ServerName: "7265616c6b756265.real.example.com",
			CA: []byte("CA"), Cert: []byte("CERT"), Key: []byte("KEY"),
		})
	}
	return o
}

// TestEphemeralShape holds the result against what tsh v14 left: the same, but
// for our extensions.
func TestEphemeralShape(t *testing.T) {
	base := parse(t, content(t, "testdata/edit/tsh14.yaml"))
	got, err := Ephemeral(base, ephemeralOptions("realkube"))
	if err != nil {
		t.Fatal(err)
	}
	for _, ext := range got.Contexts {
		ext.Extensions = nil
	}
	for _, ext := range got.Clusters {
		ext.Extensions = nil
	}
	for _, ext := range got.AuthInfos {
		ext.Extensions = nil
	}
	same(t, "as tsh v14", parse(t, content(t, "testdata/tsh14-ephemeral.yaml")), got)
}

// TestLoginShape is the same for a login; only exec's interactiveMode is said
// where tsh leaves it to the default.
func TestLoginShape(t *testing.T) {
	want := parse(t, content(t, "testdata/edit/tsh14.yaml"))
	name := "real.example.com-realkube"
	want.Clusters[name] = want.Clusters["real.example.com"] // not shared any more
	want.Contexts[name].Cluster = name
	delete(want.Clusters, "real.example.com")
	e := realkube()
	e.Command, e.Args, e.Env = "tsh", want.AuthInfos[name].Exec.Args, nil
	got := api.NewConfig()
	if err := Login(got, e, true); err != nil {
		t.Fatal(err)
	}
	got.Contexts[name].Extensions, got.Clusters[name].Extensions, got.AuthInfos[name].Extensions = nil, nil, nil
	same(t, "as tsh v14", want, got)
}

// TestEphemeralFile has two clusters beside a user's own and a login to another
// proxy, all options, and the file that kubectl would read.
func TestEphemeralFile(t *testing.T) {
	dir := t.TempDir()
	base, err := Load([]string{"testdata/edit/oidc.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{realkube(), other()} {
		if err := Login(base, e, true); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := realkube()
	elsewhere.Profile, elsewhere.TeleportCluster, elsewhere.Server = "far", "far.example.com", "https://far"
	if err := Login(base, elsewhere, false); err != nil {
		t.Fatal(err)
	}
	before := base.DeepCopy()
	o := ephemeralOptions("realkube", "other", "third")
	o.As, o.AsGroups, o.Namespace, o.ContextName = "bob", []string{"dev", "ops"}, "apps", "k-{{.KubeName}}"
	got, err := Ephemeral(base, o)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "base was changed", before, base)
	if got.CurrentContext != "k-other" {
		t.Errorf("current context %q, want that of the same cluster", got.CurrentContext)
	}
	path := filepath.Join(dir, "keys", "kube", "config")
	if err := WriteEphemeral(path, got); err != nil {
		t.Fatal(err)
	}
	read, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "as clientcmd reads it", got, read)
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/ephemeral.yaml", strings.ReplaceAll(content(t, path), wd, "/work"))
	for path, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	onlyFiles(t, filepath.Dir(path), "config")
}

// TestEphemeralCurrent has a user who went back to a context of another tool after
// a login to a cluster that is not served now, and thus left out.
func TestEphemeralCurrent(t *testing.T) {
	base := parse(t, content(t, "testdata/edit/gke.yaml"))
	before := base.CurrentContext
	if err := login(base); err != nil {
		t.Fatal(err)
	}
	base.CurrentContext = before
	got, err := Ephemeral(base, ephemeralOptions("b", "a"))
	if err != nil {
		t.Fatal(err)
	}
	if got.CurrentContext != "real.example.com-b" {
		t.Errorf("current context %q, want the first of ours", got.CurrentContext)
	}
	want := []string{before, "real.example.com-a", "real.example.com-b"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got.Contexts))); diff != "" {
		t.Error(diff)
	}
}

// TestEphemeralNoProfile leaves out a login in which tsh v14 did not say the proxy.
func TestEphemeralNoProfile(t *testing.T) {
	text := strings.ReplaceAll(content(t, "testdata/edit/tsh14.yaml"), "      - --proxy=localhost:3080\n", "")
	got, err := Ephemeral(parse(t, text), ephemeralOptions("another"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Contexts) != 1 || len(got.Clusters) != 1 || len(got.AuthInfos) != 1 {
		t.Errorf("contexts %v", got.Contexts)
	}
}

func TestEphemeralErrors(t *testing.T) {
	var taken *TakenError
	own := parse(t, "contexts: [{name: real.example.com-a}]")
	if _, err := Ephemeral(own, ephemeralOptions("a")); !errors.As(err, &taken) {
		t.Errorf("a context of the user's: %v", err)
	}
	if _, err := Ephemeral(api.NewConfig(), ephemeralOptions()); err == nil {
		t.Error("no cluster: no error")
	}
}

func TestContextNames(t *testing.T) {
	for _, tt := range []struct {
		template string
		kubes    []string
		want     []string
		err      string
	}{
		{"", []string{"a", "b.C"}, []string{"real.example.com-a", "real.example.com-b.C"}, ""},
		{"{{ .KubeName }}@{{.ClusterName}}", []string{"a"}, []string{"a@real.example.com"}, ""},
		{"fixed", []string{"a"}, []string{"fixed"}, ""},
		{"{{.ClusterName}}", []string{"a", "b"}, nil, "two clusters get one context name"},
		{"{{.Kube}}", []string{"a"}, nil, `no entry for key "Kube"`},
		{"{{.KubeName", []string{"a"}, nil, "unclosed action"},
		{"{{if false}}x{{end}}", []string{"a"}, nil, "empty"},
	} {
		got, err := ContextNames(tt.template, ephemeralOptions(tt.kubes...).Clusters)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q: %s", tt.template, diff)
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: error %v, want %q", tt.template, err, tt.err)
		}
	}
}
