package kubeconfig

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// robot is somebody to be taken for, with all that a kubeconfig can say of it.
var robot = Impersonation{
	User: "robot", UID: "42", Groups: []string{"dev", "ops"},
	Extra: map[string][]string{"reason": {"a: b", ""}, "example.com/scope": {"x"}},
}

// impersonated is realkube's login, of which the user has had kubectl act as robot.
func impersonated(t *testing.T) *api.Config {
	t.Helper()
	c := api.NewConfig()
	if err := login(c); err != nil {
		t.Fatal(err)
	}
	u := c.AuthInfos["real.example.com-realkube"]
	u.Impersonate, u.ImpersonateUID, u.ImpersonateGroups, u.ImpersonateUserExtra = robot.User, robot.UID, robot.Groups, robot.Extra
	return c
}

// actsAs is who the user of a context acts as.
func actsAs(t *testing.T, c *api.Config, context string) Impersonation {
	t.Helper()
	at := c.Contexts[context]
	if at == nil || c.AuthInfos[at.AuthInfo] == nil {
		t.Fatalf("context %q: %+v", context, at)
	}
	u := c.AuthInfos[at.AuthInfo]
	as := Impersonation{User: u.Impersonate, UID: u.ImpersonateUID, Groups: u.ImpersonateGroups}
	if len(u.ImpersonateUserExtra) > 0 {
		as.Extra = u.ImpersonateUserExtra
	}
	return as
}

// TestImpersonationOfLogin: another login, in the same context or one of its own,
// leaves who is acted as, which Teleport tells.
func TestImpersonationOfLogin(t *testing.T) {
	c := impersonated(t)
	second := realkube()
	second.ContextName = "second"
	for _, e := range []Entry{other(), realkube(), second} {
		if err := Login(c, e, true); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]Impersonation{"real.example.com-realkube": robot, "second": robot, "real.example.com-other": {}}
	got := map[string]Impersonation{}
	for _, e := range Teleport(c) {
		got[e.ContextName] = e.As
		if diff := cmp.Diff(e.As, actsAs(t, c, e.ContextName)); diff != "" {
			t.Errorf("%s: Teleport is wrong: %s", e.ContextName, diff)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestImpersonationBehindProxy: each context of a local proxy acts as its login
// did, in the file that kubectl reads, unless somebody else is asked for, which
// replaces all of it.
func TestImpersonationBehindProxy(t *testing.T) {
	admin := Impersonation{User: "admin"}
	for _, tt := range []struct {
		name   string
		as     string
		groups []string
		want   []Impersonation // of the contexts of TestImpersonationBehindProxy
	}{
		{"as the login did", "", nil, []Impersonation{robot, {}, admin}},
		{"as bob", "bob", nil, []Impersonation{{User: "bob"}, {User: "bob"}, {User: "bob"}}},
		{"as bob of a group", "bob", []string{"a"}, []Impersonation{
			{User: "bob", Groups: []string{"a"}}, {User: "bob", Groups: []string{"a"}}, {User: "bob", Groups: []string{"a"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := ephemeralOptions("realkube", "realkube", "realkube")
			for i, as := range []Impersonation{robot, {}, admin} {
				o.Clusters[i].ContextName, o.Clusters[i].As = string(rune('a'+i)), as
			}
			o.As, o.AsGroups = tt.as, tt.groups
			config, err := Ephemeral(impersonated(t), o)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "config")
			if err := WriteEphemeral(path, config); err != nil {
				t.Fatal(err)
			}
			read, err := clientcmd.LoadFromFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.want {
				if diff := cmp.Diff(want, actsAs(t, read, o.Clusters[i].ContextName)); diff != "" {
					t.Errorf("context %s: %s", o.Clusters[i].ContextName, diff)
				}
			}
			if strings.Contains(content(t, path), "credentials") {
				t.Error("the login is still there")
			}
		})
	}
}
