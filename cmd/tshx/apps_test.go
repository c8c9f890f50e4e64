package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/identity"
	"tshx/internal/lab"
	"tshx/internal/plain"
	"tshx/internal/profile"
	"tshx/internal/proxyserver"
)

// appsLab is a lab with apps, and the home that a login left.
type appsLab struct {
	t     *testing.T
	lab   *lab.Lab
	home  string
	paths profile.Paths
}

// cloudApps are the routes of the apps that are the API of a cloud.
var cloudApps = map[string]identity.App{
	"amazon": {AWSRoleARN: "arn:aws:iam::123456789012:role/path/reader"},
	"azure":  {AzureIdentity: "/subscriptions/1/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/robot"},
	"google": {GCPServiceAccount: "robot@project.iam.gserviceaccount.com"},
}

// newAppsLab starts a lab with these apps, those of cloudApps as such, and makes
// it the environment.
func newAppsLab(t *testing.T, o lab.HomeOptions, names ...string) *appsLab {
	t.Helper()
	c := lab.Config{}
	for _, name := range names {
		c.Apps = append(c.Apps, lab.App{Name: name, URI: "tcp://127.0.0.1:1"})
	}
	l, err := lab.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	dir := t.TempDir()
	a := &appsLab{t: t, lab: l, home: filepath.Join(dir, "tsh")}
	a.paths = profile.Paths{Dir: a.home, Proxy: "localhost", User: "alice"}
	if err := l.WriteHome(a.home, l.Addr, o); err != nil {
		t.Fatal(err)
	}
	appsEnv(t, a.home)
	for _, name := range names {
		if route, ok := cloudApps[name]; ok {
			a.issue(o, name, route)
		}
	}
	return a
}

// appsEnv makes a home that of the environment, and nothing else.
func appsEnv(t *testing.T, home string) {
	t.Helper()
	for name, value := range map[string]string{
		"HOME": filepath.Dir(home), "XDG_CACHE_HOME": filepath.Join(filepath.Dir(home), "cache"), "TELEPORT_HOME": home,
		"TELEPORT_PROXY": "", "TELEPORT_CLUSTER": "", "TELEPORT_SITE": "", "TELEPORT_IDENTITY_FILE": "",
		"TELEPORT_TLS_ROUTING_CONN_UPGRADE": "", "TSHX_CA_FILE": "", "SSL_CERT_FILE": "",
	} {
		t.Setenv(name, value)
	}
}

// issue replaces the certificate of an app by one with this route.
func (a *appsLab) issue(o lab.HomeOptions, name string, route identity.App) {
	a.t.Helper()
	pair := a.paths.Pair(profile.LayoutV17, profile.KindApp, "lab.example.com", name)
	key, err := proxyserver.NewKey(proxyserver.ECDSA)
	if err != nil {
		a.t.Fatal(err)
	}
	route.Name, route.SessionID, route.PublicAddr, route.Cluster = name, "s", name+".localhost", "lab.example.com"
	der, err := a.lab.Authority.IssueTLS(proxyserver.UserRequest{
		Public: key.Public(), NotAfter: time.Now().Add(12*time.Hour + o.TTL),
		Identity: identity.Identity{User: "alice", Roles: []string{"access"}, Usage: []string{identity.UsageApps}, App: route},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	text, err := marshalPKCS8(key)
	if err := errors.Join(err, os.WriteFile(pair.Key, text, 0o600),
		os.WriteFile(pair.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)); err != nil {
		a.t.Fatal(err)
	}
}

// tshx runs a command line.
func (a *appsLab) tshx(args ...string) (code int, out, talk string) {
	a.t.Helper()
	return runLine(a.t, args...)
}

func runLine(t *testing.T, args ...string) (code int, out, talk string) {
	t.Helper()
	env, stderr := testEnv()
	var stdout bytes.Buffer
	env.Stdout = &stdout
	code = run(t.Context(), env, args)
	return code, stdout.String(), stderr.String()
}

// must runs a command line that works, and says nothing but its answer.
func (a *appsLab) must(args ...string) string {
	a.t.Helper()
	code, out, talk := a.tshx(args...)
	if code != 0 || talk != "" {
		a.t.Fatalf("%v: exit code %d, %s", args, code, talk)
	}
	return out
}

func (a *appsLab) pair(name string) profile.Pair {
	return a.paths.Pair(profile.LayoutV17, profile.KindApp, "lab.example.com", name)
}

// TestAppsMistakes: each is one line that says what to do, and nothing on standard
// output.
func TestAppsMistakes(t *testing.T) {
	spoil := func(part string) func(*testing.T, *appsLab) {
		return func(t *testing.T, a *appsLab) {
			path := a.pair("hello").Cert
			if part == "key" {
				path = a.pair("hello").Key
			}
			if err := os.WriteFile(path, []byte("nothing\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	none := func(t *testing.T, a *appsLab) { os.RemoveAll(a.paths.KindDir(profile.KindApp)) }
	expire := func(t *testing.T, a *appsLab) {
		if err := a.lab.WriteHome(a.home, a.lab.Addr, lab.HomeOptions{TTL: -time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	noRoute := func(t *testing.T, a *appsLab) {
		login := a.paths.Pair(profile.LayoutV17, profile.KindTLS, "", "")
		for from, to := range map[string]string{login.Cert: a.pair("hello").Cert, login.Key: a.pair("hello").Key} {
			b, err := os.ReadFile(from)
			if err := errors.Join(err, os.WriteFile(to, b, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, a *appsLab)
		line   string
		code   int
		want   string // part of the line
	}{
		{"nearest name", nil, "apps login helo", exitLogin, `app "helo" certificate not found, did you mean "hello"? (there are amazon, hello); if not, run: tsh apps login helo`},
		{"nearest name, config", nil, "apps config helo", exitLogin, `did you mean "hello"?`},
		{"other cluster", nil, "apps config hello -c leaf", exitLogin, `there is one for --cluster=lab.example.com`},
		{"several", nil, "apps config", exitUsage, "name an app; there are amazon, hello"},
		{"none", none, "apps config", exitLogin, "app certificate not found ("},
		{"none, by name", none, "apps login hello", exitLogin, `app "hello" certificate not found`},
		{"no name", nil, "apps login", exitUsage, "<name>"},
		{"path", nil, "apps login ../hello", exitUsage, `not a usable name for an app resource: "../hello"`},
		{"path, config", nil, "apps config a/b", exitUsage, `"a/b"`},
		{"path, logout", nil, "apps logout ../../alice", exitUsage, `"../../alice"`},
		{"cluster with a path", nil, "apps logout -c ../x", exitUsage, `not a usable name for a cluster: "../x"`},
		{"expired", expire, "apps login hello", exitLogin, `app "hello" certificate expired `},
		{"expired, config", expire, "apps config hello", exitLogin, "run: tsh apps login hello"},
		{"broken certificate", spoil("cert"), "apps config hello", exitLogin, `app "hello" certificate cannot be used (`},
		{"broken key", spoil("key"), "apps login hello", exitLogin, `hello.key: no private key in PEM form); run: tsh apps login hello`},
		{"a certificate for nothing", noRoute, "apps config hello", exitLogin, `hello.crt: it opens no app); run: tsh apps login hello`},
		{"format", nil, "apps config hello -f cmd", exitUsage, "--format must be one of"},
		{"another role", nil, "apps login amazon --aws-role writer", exitLogin, `the certificate for app "amazon" is for arn:aws:iam::123456789012:role/path/reader, not for --aws-role writer; run: tsh apps login amazon --aws-role=writer`},
		{"no role", nil, "apps login hello --aws-role writer", exitLogin, `the certificate for app "hello" is not for --aws-role writer`},
		{"another cloud", nil, "apps login amazon --gcp-service-account x", exitLogin, `is not for --gcp-service-account x`},
		{"no login", func(t *testing.T, a *appsLab) { os.RemoveAll(a.home) }, "apps ls", exitLogin, "not logged in"},
		{"no login, logout", func(t *testing.T, a *appsLab) { os.RemoveAll(a.home) }, "apps logout", exitLogin, "not logged in"},
		{"identity file", nil, "apps logout -i IDENTITY --proxy localhost", exitFailure, "an identity file holds its certificates for good"},
		{"identity file, one", nil, "apps logout hello -i IDENTITY --proxy localhost", exitFailure, "an identity file holds its certificates for good"},
		{"identity file for another", nil, "apps config amazon -i IDENTITY --proxy localhost", exitLogin, `there are hello; the identity file has none`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAppsLab(t, lab.HomeOptions{}, "hello", "amazon")
			if tt.change != nil {
				tt.change(t, a)
			}
			file := a.identity("hello")
			code, out, talk := a.tshx(strings.Fields(strings.ReplaceAll(tt.line, "IDENTITY", file))...)
			if code != tt.code || out != "" || strings.Count(talk, "\n") != 1 || !strings.Contains(talk, tt.want) {
				t.Errorf("exit code %d, want %d; %q\n%swant %s", code, tt.code, out, talk, tt.want)
			}
		})
	}
}

// identity writes an identity file for an app.
func (a *appsLab) identity(name string) string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "identity")
	if err := a.lab.WriteIdentityFile(path, lab.HomeOptions{App: name}); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// The login of a real cluster, which is long over: its apps are listed with what
// tsh says of them, and go by a logout.
func TestAppsOfRealLogin(t *testing.T) {
	home := filepath.Join(t.TempDir(), "tsh")
	if err := os.CopyFS(home, os.DirFS("../../internal/profile/testdata/teleport-14/tsh-home")); err != nil {
		t.Fatal(err)
	}
	appsEnv(t, home)
	var theirs []struct {
		Metadata struct{ Name string }
		Spec     struct {
			PublicAddr string `json:"public_addr"`
		}
	}
	b, err := os.ReadFile("../../internal/profile/testdata/teleport-14/tsh-apps-ls.json")
	if err := errors.Join(err, json.Unmarshal(b, &theirs)); err != nil {
		t.Fatal(err)
	}
	var want, got []listedApp
	for _, app := range theirs {
		want = append(want, listedApp{Name: app.Metadata.Name, PublicAddr: app.Spec.PublicAddr, Cluster: "real.example.com"})
	}
	code, out, talk := runLine(t, "apps", "ls", "-f", "json")
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || talk != "" {
		t.Fatalf("%d, %v, %s", code, err, talk)
	}
	for i := range got {
		if got[i].Expires == nil || got[i].Expires.Format(time.RFC3339) != "2026-11-23T13:11:38Z" {
			t.Errorf("%s expires %v", got[i].Name, got[i].Expires)
		}
		got[i].Expires, got[i].Valid = nil, false
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(listedApp{})); d != "" || len(want) == 0 {
		t.Error(d)
	}

	dir := filepath.Join(home, "keys", "localhost", "alice-app", "real.example.com")
	if err := os.WriteFile(filepath.Join(dir, "hello-localca.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := filepath.Glob(filepath.Join(home, "keys", "localhost", "alice*"))
	code, out, talk = runLine(t, "apps", "logout")
	lines := "removed: " + plain.Copyable(filepath.Join(dir, "hello-x509.pem")) + "\nremoved: " + plain.Copyable(filepath.Join(dir, "hello-localca.pem")) +
		"\nremoved: " + plain.Copyable(filepath.Join(dir, "tcpecho-x509.pem")) + "\n"
	if code != 0 || talk != "" || out != lines {
		t.Errorf("exit code %d, %s%s", code, out, talk)
	}
	after, _ := filepath.Glob(filepath.Join(home, "keys", "localhost", "alice*"))
	if d := cmp.Diff(before, after); d != "" { // the key is for everything
		t.Error(d)
	}
}
