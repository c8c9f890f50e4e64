package kubeconfig

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd/api"
)

// named is a login to a cluster, in a context of this name.
func named(teleport, kube, context string) Entry {
	e := realkube()
	e.TeleportCluster, e.KubeCluster, e.ContextName = teleport, kube, context
	e.Args = []string{"kube", "credentials", "--kube-cluster=" + kube, "--teleport-cluster=" + teleport, "--proxy=localhost:3080"}
	return e
}

// TestEphemeralSameName: clusters of which the names together are the same, and
// contexts of one cluster, have entries of their own, beside the user's.
func TestEphemeralSameName(t *testing.T) {
	o := EphemeralOptions{Profile: "localhost", ProxyURL: "http://127.0.0.1:1"}
	for _, c := range [][3]string{{"a-b", "c", "one"}, {"a", "b-c", "two"}, {"a", "b-c", "three"}} {
		o.Clusters = append(o.Clusters, EphemeralCluster{
			TeleportCluster: c[0], KubeCluster: c[1], ContextName: c[2], Namespace: c[2], Server: "https://" + c[2], Key: []byte(c[2]),
		})
	}
	config, err := Ephemeral(parse(t, `{"users": [{"name": "a-b-c-2", "user": {"token": "s3cret"}}], "clusters": [{"name": "a-b-c-3", "cluster": {"server": "https://mine"}}]}`), o)
	if err != nil {
		t.Fatal(err)
	}
	if config.AuthInfos["a-b-c-2"].Token != "s3cret" || config.Clusters["a-b-c-3"].Server != "https://mine" {
		t.Error("the user's own are gone")
	}
	for _, c := range o.Clusters {
		at := config.Contexts[c.ContextName]
		if at == nil || at.Namespace != c.Namespace || config.Clusters[at.Cluster].Server != c.Server || string(config.AuthInfos[at.AuthInfo].ClientKeyData) != c.ContextName {
			t.Errorf("context %s: %+v leads to %+v", c.ContextName, at, config.Clusters[at.Cluster])
		}
	}
	want := map[string]string{"one": "c", "two": "b-c", "three": "b-c"}
	got := map[string]string{}
	for _, e := range Teleport(config) {
		got[e.ContextName] = e.KubeCluster
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestLoginSameName: a login does not take away another's entries, except for a
// context whose name was asked for.
func TestLoginSameName(t *testing.T) {
	far := named("a", "b-c", "")
	far.Profile = "far"
	elsewhere := far
	elsewhere.ContextName = "elsewhere"
	unsaid := named("a", "b-c", "renamed") // as older tsh leaves it
	unsaid.Profile, unsaid.Args = "", nil
	unsaidFar := unsaid
	unsaidFar.Server = "https://far"
	for _, tt := range []struct {
		name          string
		first, second Entry
		refused       bool
		left          []string // contexts
	}{
		{"another cluster", named("a-b", "c", ""), named("a", "b-c", ""), true, nil},
		{"another cluster under another name", named("a-b", "c", ""), named("a", "b-c", "mine"), true, nil},
		{"another one has our name", named("a-b", "x", "a-b-c"), named("a", "b-c", ""), true, nil},
		{"another proxy's under another name", named("a", "b-c", ""), elsewhere, true, nil},
		{"one that says no proxy", unsaid, named("a", "b-c", ""), false, []string{"a-b-c", "renamed"}},
		{"one of another server", unsaidFar, named("a", "b-c", ""), true, nil},
		{"another proxy's", named("a", "b-c", ""), far, false, []string{"a-b-c"}},
		{"a name of one's own moves", named("a-b", "c", "mine"), named("x", "y", "mine"), false, []string{"mine"}},
		{"and between those of one name", named("a-b", "c", "mine"), named("a", "b-c", "mine"), false, []string{"mine"}},
		{"a second context", named("a-b", "c", ""), named("a-b", "c", "mine"), false, []string{"a-b-c", "mine"}},
		{"again", named("a-b", "c", ""), named("a-b", "c", ""), false, []string{"a-b-c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := api.NewConfig()
			if err := Login(config, tt.first, true); err != nil {
				t.Fatal(err)
			}
			before := config.DeepCopy()
			err := Login(config, tt.second, true)
			if tt.refused {
				var taken *OtherLoginError
				want := OtherLoginError{before.CurrentContext, tt.first.TeleportCluster, tt.first.KubeCluster}
				if !errors.As(err, &taken) || *taken != want {
					t.Errorf("%v", err)
				}
				same(t, "refused", before, config)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.left, slices.Sorted(maps.Keys(config.Contexts))); diff != "" {
				t.Error(diff)
			}
			for _, e := range Teleport(config) {
				at := config.Contexts[e.ContextName]
				if e.TeleportCluster != tt.second.TeleportCluster || e.KubeCluster != tt.second.KubeCluster || config.AuthInfos[at.AuthInfo] == nil {
					t.Errorf("context %s: %+v", e.ContextName, e)
				}
			}
			if len(config.Clusters) != 1 || len(config.AuthInfos) != 1 {
				t.Errorf("left: %v %v", config.Clusters, config.AuthInfos)
			}
		})
	}
}
