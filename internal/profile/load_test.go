package profile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestDefaultDir(t *testing.T) {
	for _, tt := range []struct{ env, home, want string }{
		{"", "/home/a", filepath.FromSlash("/home/a/.tsh")},
		{"/opt/tsh/", "/home/a", filepath.FromSlash("/opt/tsh")},
		{"/opt/tsh", "", filepath.FromSlash("/opt/tsh")},
		{"", "", ""},
	} {
		getenv := func(name string) string {
			if name != "TELEPORT_HOME" {
				t.Errorf("asked for %s", name)
			}
			return tt.env
		}
		if got := DefaultDir(getenv, tt.home); got != tt.want {
			t.Errorf("DefaultDir(%q, %q) = %q, want %q", tt.env, tt.home, got, tt.want)
		}
	}
}

// TestLoadDefaultDir is Load with nothing given but the environment.
func TestLoadDefaultDir(t *testing.T) {
	h := newHome(t)
	t.Setenv("TELEPORT_HOME", h.paths.Dir)
	p, err := Load(Options{})
	check(t, err)
	if p.Name != "proxy.example.com" || p.Dir != h.paths.Dir {
		t.Errorf("loaded %s from %s", p.Name, p.Dir)
	}
	if d := time.Since(p.now()); d < 0 || d > time.Minute {
		t.Errorf("the default clock is off by %v", d)
	}
}

func TestLoad(t *testing.T) {
	yes, no := true, false
	base := Profile{
		Name: "proxy.example.com", WebAddr: "proxy.example.com:3080", SSHAddr: "proxy.example.com:3080",
		User: "alice", Cluster: "root.example.com", TLSRouting: true,
	}
	tests := []struct {
		name   string
		config string // testConfig when empty
		choose string
		want   func(*Profile)
	}{
		{name: "current", want: func(p *Profile) {}},
		{name: "by host", choose: "proxy.example.com", want: func(p *Profile) {}},
		{name: "by host in capitals", choose: "Proxy.Example.COM", want: func(p *Profile) {}},
		{name: "by host and port", choose: "proxy.example.com:3080", want: func(p *Profile) {}},
		{name: "by URL", choose: "https://proxy.example.com:3080/web", want: func(p *Profile) {}},
		{name: "by URL without port", choose: "https://proxy.example.com", want: func(p *Profile) {}},
		{
			name: "another port", choose: "proxy.example.com:8443",
			config: testConfig + "tls_routing_conn_upgrade_required: true\nkube_proxy_addr: k8s.example.com:3026\n",
			want: func(p *Profile) {
				p.WebAddr, p.SSHAddr = "proxy.example.com:8443", "proxy.example.com:8443"
				p.KubeAddr = "k8s.example.com:3026" // another host stays
			},
		},
		{name: "upgrade required", config: testConfig + "tls_routing_conn_upgrade_required: true\n", want: func(p *Profile) { p.UpgradeRequired = &yes }},
		{name: "no upgrade required", config: testConfig + "tls_routing_conn_upgrade_required: false\n", want: func(p *Profile) { p.UpgradeRequired = &no }},
		{name: "no port", config: "web_proxy_addr: proxy.example.com\nuser: alice\ntls_routing_enabled: true\n", want: func(p *Profile) {
			p.WebAddr, p.SSHAddr, p.Cluster = "proxy.example.com:443", "proxy.example.com:443", "proxy.example.com"
		}},
		{name: "only a user", config: "user: alice\n", want: func(p *Profile) {
			p.WebAddr, p.SSHAddr, p.Cluster = "proxy.example.com:443", "proxy.example.com:3023", "proxy.example.com"
			p.TLSRouting = false
		}},
		{name: "own ports", config: `
web_proxy_addr: proxy.example.com:3080
ssh_proxy_addr: ssh.example.com:3023
kube_proxy_addr: kube.example.com:3026
postgres_proxy_addr: pg.example.com:5432
mysql_proxy_addr: my.example.com:3036
mongo_proxy_addr: mongo.example.com:27017
user: a@b.com
cluster: leaf.example.com
auth_connector: okta
`, want: func(p *Profile) {
			p.SSHAddr, p.KubeAddr = "ssh.example.com:3023", "kube.example.com:3026"
			p.PostgresAddr, p.MySQLAddr, p.MongoAddr = "pg.example.com:5432", "my.example.com:3036", "mongo.example.com:27017"
			p.User, p.Cluster, p.AuthConnector, p.TLSRouting = "a@b.com", "leaf.example.com", "okta", false
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHome(t)
			if tt.config != "" {
				h.write(ConfigPath(h.paths.Dir, h.paths.Proxy), []byte(tt.config))
			}
			want := base
			want.Dir = h.paths.Dir
			tt.want(&want)
			got := mustLoad(t, Options{Dir: h.paths.Dir, Name: tt.choose})
			if d := time.Since(got.ModTime); d < 59*time.Minute || d > 61*time.Minute {
				t.Errorf("ModTime is %v ago, want an hour", d)
			}
			if diff := cmp.Diff(&want, got, cmpopts.IgnoreUnexported(Profile{}), cmpopts.IgnoreFields(Profile{}, "ModTime")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadIPv6(t *testing.T) {
	h := newHome(t)
	h.write(ConfigPath(h.paths.Dir, "::1"), []byte("web_proxy_addr: '[::1]:3080'\nuser: alice\n"))
	for _, name := range []string{"::1", "[::1]", "[::1]:3080", "https://[::1]:3080"} {
		p := mustLoad(t, Options{Dir: h.paths.Dir, Name: name})
		if p.WebAddr != "[::1]:3080" || p.Name != "::1" {
			t.Errorf("%s: web address %s, name %s", name, p.WebAddr, p.Name)
		}
	}
}

// TestLoadFails checks the whole text, with DIR for the home directory.
func TestLoadFails(t *testing.T) {
	config := func(h *home, text string) { h.write(ConfigPath(h.paths.Dir, h.paths.Proxy), []byte(text)) }
	tests := []struct {
		name   string
		o      Options
		change func(t *testing.T, h *home)
		text   string
		is     error
	}{
		{name: "no directory", change: func(t *testing.T, h *home) { check(t, os.RemoveAll(h.paths.Dir)) },
			text: "not logged in (no profile in DIR); run: tsh login --proxy=HOST:PORT", is: ErrNotLoggedIn},
		{name: "empty directory", change: func(t *testing.T, h *home) {
			check(t, os.RemoveAll(h.paths.Dir))
			check(t, os.Mkdir(h.paths.Dir, 0o700))
		}, text: "not logged in (no profile in DIR); run: tsh login --proxy=HOST:PORT", is: ErrNotLoggedIn},
		{name: "no current profile", change: func(t *testing.T, h *home) { check(t, os.Remove(CurrentPath(h.paths.Dir))) },
			text: "not logged in (no current profile in DIR); choose one with --proxy=proxy.example.com, or run: tsh login --proxy=HOST:PORT", is: ErrNotLoggedIn},
		{name: "empty current profile", change: func(t *testing.T, h *home) { h.write(CurrentPath(h.paths.Dir), []byte(" \n")) },
			text: "not logged in (no current profile in DIR); choose one with --proxy=proxy.example.com, or run: tsh login --proxy=HOST:PORT", is: ErrNotLoggedIn},
		{name: "current profile is gone", change: func(t *testing.T, h *home) { h.write(CurrentPath(h.paths.Dir), []byte("x.test")) },
			text: "not logged in to x.test (no profile for it in DIR); run: tsh login --proxy=x.test", is: ErrNotLoggedIn},
		{name: "current profile leads out", change: func(t *testing.T, h *home) { h.write(CurrentPath(h.paths.Dir), []byte("../x")) },
			text: `not a usable name for a proxy: "../x"`, is: ErrBadName},
		{name: "current profile is a directory", change: func(t *testing.T, h *home) { directory(t, CurrentPath(h.paths.Dir)) },
			text: "current profile: read DIR/current-profile: is a directory"},
		{name: "unknown name", o: Options{Name: "other.test:3080"},
			text: "not logged in to other.test (no profile for it in DIR); run: tsh login --proxy=other.test:3080", is: ErrNotLoggedIn},
		{name: "misspelt name", o: Options{Name: "porxy.example.com"},
			text: "not logged in to porxy.example.com (did you mean --proxy=proxy.example.com?); if not, run: tsh login --proxy=porxy.example.com", is: ErrNotLoggedIn},
		{name: "broken YAML", change: func(t *testing.T, h *home) { config(h, "user: alice\ncluster: a: b\n") },
			text: "profile: DIR/proxy.example.com.yaml: line 2: mapping values are not allowed in this context"},
		{name: "broken YAML in the first line", change: func(t *testing.T, h *home) { config(h, "\tuser") },
			text: "profile: DIR/proxy.example.com.yaml: line 1: found character that cannot start any token"},
		{name: "wrong type", change: func(t *testing.T, h *home) { config(h, "user: alice\ntls_routing_enabled: maybe\n") },
			text: "profile: DIR/proxy.example.com.yaml: line 2: cannot unmarshal !!str `maybe` into bool"},
		{name: "not a mapping", change: func(t *testing.T, h *home) { config(h, "- a\n- b\n") },
			text: "profile: DIR/proxy.example.com.yaml: line 1: cannot unmarshal !!seq into profile.Config"},
		{name: "no user", change: func(t *testing.T, h *home) { config(h, "web_proxy_addr: proxy.example.com:3080\n") },
			text: "profile: DIR/proxy.example.com.yaml names no user: not logged in; run: tsh login --proxy=proxy.example.com:3080", is: ErrNotLoggedIn},
		{name: "empty file", change: func(t *testing.T, h *home) { config(h, "") },
			text: "profile: DIR/proxy.example.com.yaml names no user: not logged in; run: tsh login --proxy=proxy.example.com:443", is: ErrNotLoggedIn},
		{name: "user leads out", change: func(t *testing.T, h *home) { config(h, "user: ../../x\n") },
			text: `profile: DIR/proxy.example.com.yaml: not a usable name for a user: "../../x"`, is: ErrBadName},
		{name: "cluster leads out", change: func(t *testing.T, h *home) { config(h, "user: alice\ncluster: ../x\n") },
			text: `profile: DIR/proxy.example.com.yaml: not a usable name for a cluster: "../x"`, is: ErrBadName},
		{name: "profile is a directory", change: func(t *testing.T, h *home) { directory(t, ConfigPath(h.paths.Dir, h.paths.Proxy)) },
			text: "profile: read DIR/proxy.example.com.yaml: is a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHome(t)
			if tt.change != nil {
				tt.change(t, h)
			}
			tt.o.Dir = h.paths.Dir
			p, err := Load(tt.o)
			if err == nil {
				t.Fatalf("loaded %+v", p)
			}
			if got := strings.ReplaceAll(err.Error(), h.paths.Dir, "DIR"); got != tt.text {
				t.Errorf("text:\n got %s\nwant %s", got, tt.text)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("is not %v", tt.is)
			}
			if tt.is == nil && (errors.Is(err, ErrNotLoggedIn) || errors.Is(err, fs.ErrNotExist)) {
				t.Error("passes for a missing login")
			}
		})
	}
}

func TestLoadNoHome(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("TELEPORT_HOME", "")
	_, err := Load(Options{})
	if !errors.Is(err, ErrNotLoggedIn) {
		t.Errorf("err = %v", err)
	}
}

func TestLoadHuge(t *testing.T) {
	h := newHome(t)
	check(t, os.Truncate(ConfigPath(h.paths.Dir, h.paths.Proxy), maxFile+1))
	if _, err := Load(Options{Dir: h.paths.Dir}); err == nil || !strings.Contains(err.Error(), "is larger than 16 MiB") {
		t.Errorf("err = %v", err)
	}
}

func TestConfigMarshal(t *testing.T) {
	yes := true
	for name, c := range map[string]Config{
		"full": {
			WebProxyAddr: "w:1", SSHProxyAddr: "s:2", KubeProxyAddr: "k:3", PostgresProxyAddr: "p:4", MySQLProxyAddr: "m:5",
			MongoProxyAddr: "o:6", User: "true", Cluster: "c", TLSRoutingEnabled: true,
			TLSRoutingConnUpgradeRequired: &yes, AuthConnector: "local",
		},
		"empty": {},
	} {
		data, err := c.Marshal()
		check(t, err)
		got, err := parseConfig(data)
		check(t, err)
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestProfiles(t *testing.T) {
	h := newHome(t)
	h.write(ConfigPath(h.paths.Dir, "another.test"), nil)
	got, err := Profiles(h.paths.Dir)
	check(t, err)
	if want := []string{"another.test", "proxy.example.com"}; !cmp.Equal(want, got) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, err := Profiles(filepath.Join(h.paths.Dir, "none")); err != nil || got != nil {
		t.Errorf("no directory: %q, %v", got, err)
	}
	if _, err := Profiles(CurrentPath(h.paths.Dir)); err == nil {
		t.Error("a file in place of the directory: no error")
	}
}

func TestRenewCommands(t *testing.T) {
	const other = "web_proxy_addr: other.test:443\nuser: bob jones\nauth_connector: okta\n"
	tests := []struct {
		name    string
		o       Options
		cluster string
		kind    Kind
		want    string
	}{
		{name: "login", kind: KindTLS, want: "tsh login --proxy=proxy.example.com:3080 --user=alice"},
		{name: "ssh", kind: KindSSH, want: "tsh login --proxy=proxy.example.com:3080 --user=alice"},
		{name: "single sign-on", o: Options{Name: "other.test"}, kind: KindTLS, want: "tsh login --proxy=other.test:443 --auth=okta"},
		{name: "db", kind: KindDB, want: "tsh db login x"},
		{name: "current by name", o: Options{Name: "proxy.example.com"}, kind: KindApp, want: "tsh apps login x"},
		{name: "not current", o: Options{Name: "other.test"}, kind: KindKube, want: "tsh kube login --proxy=other.test:443 x"},
		{name: "leaf", cluster: "leaf.test", kind: KindDB, want: "tsh db login --cluster=leaf.test x"},
	}
	h := newHome(t)
	h.write(ConfigPath(h.paths.Dir, "other.test"), []byte(other))
	for _, tt := range tests {
		tt.o.Dir = h.paths.Dir
		p := mustLoad(t, tt.o)
		cluster := p.Cluster
		if tt.cluster != "" {
			cluster = tt.cluster
		}
		if got := p.renewCommand(tt.kind, cluster, "x"); got != tt.want {
			t.Errorf("%s: %s\nwant %s", tt.name, got, tt.want)
		}
	}
}
