package profile

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tshx/internal/identity"
)

// These tests run against the home directory that a v14 tsh left after a login
// to a real cluster.
const fixture = "testdata/teleport-14/tsh-home"

var (
	fixtureNow    = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	fixtureExpiry = time.Date(2026, 11, 23, 13, 11, 38, 0, time.UTC)
)

func TestFixtureProfile(t *testing.T) {
	p := mustLoad(t, Options{Dir: fixture, Now: at(fixtureNow)})
	want := &Profile{
		Name: "localhost", WebAddr: "localhost:3080", SSHAddr: "localhost:3080", KubeAddr: "localhost:3080",
		PostgresAddr: "localhost:3080", MySQLAddr: "localhost:3080", User: "alice", Cluster: "real.example.com",
		Dir: fixture, TLSRouting: true,
	}
	if diff := cmp.Diff(want, p, cmpopts.IgnoreUnexported(Profile{}), cmpopts.IgnoreFields(Profile{}, "ModTime")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if p.ModTime.IsZero() {
		t.Error("ModTime is zero")
	}
	if root, err := p.RootCluster(); err != nil || root != "real.example.com" {
		t.Errorf("RootCluster = %q, %v", root, err)
	}
}

// TestFixtureLogin uses everything in the home directory while it was valid.
func TestFixtureLogin(t *testing.T) {
	p := mustLoad(t, Options{Dir: fixture, Now: at(fixtureNow)})

	for name, load := range certLoaders(p) {
		c, err := load()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !samePublic(c.PrivateKey.(interface{ signer }), c.Leaf.PublicKey) || len(c.Certificate) != 1 {
			t.Errorf("%s: key or chain is wrong", name)
		}
	}
	if c, err := p.DBCert("pg"); err == nil {
		id, err := identity.FromCertificate(c.Leaf)
		check(t, err)
		want := identity.Database{Service: "pg", Protocol: "postgres", User: "alice", Name: "postgres"}
		if diff := cmp.Diff(want, id.Database); diff != "" {
			t.Errorf("database route (-want +got):\n%s", diff)
		}
	}

	cert, signer, err := p.SSHSigner()
	check(t, err)
	if want := []string{"root", "alice", "-teleport-internal-join"}; !cmp.Equal(want, cert.ValidPrincipals) {
		t.Errorf("principals = %q", cert.ValidPrincipals)
	}
	signature, err := signer.Sign(nil, []byte("data"))
	check(t, err)
	check(t, cert.Key.Verify([]byte("data"), signature))

	pool, err := p.HostCAs()
	check(t, err)
	want := x509.NewCertPool()
	want.AppendCertsFromPEM(must(os.ReadFile(fixture + "/keys/localhost/cas/real.example.com.pem")))
	if !pool.Equal(want) {
		t.Error("HostCAs is not the content of cas/real.example.com.pem")
	}

	lines, err := p.HostKeyLines()
	check(t, err)
	if !strings.HasPrefix(string(lines), "@cert-authority localhost,real.example.com,*.real.example.com ssh-rsa ") {
		t.Errorf("HostKeyLines = %.80q", lines)
	}
}

func TestFixtureNames(t *testing.T) {
	p := mustLoad(t, Options{Dir: fixture})
	for name, tt := range map[string]struct {
		list func() ([]string, error)
		want []string
	}{
		"databases": {p.Databases, []string{"my", "pg"}},
		"apps":      {p.Apps, []string{"hello", "tcpecho"}},
		"kubes":     {p.Kubes, []string{"realkube"}}, // and not the kubeconfig beside it
	} {
		got, err := tt.list()
		check(t, err)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestFixtureExpired looks at the same directory a day later, and before it.
func TestFixtureExpired(t *testing.T) {
	const login = "tsh login --proxy=localhost:3080 --user=alice"
	certs := map[string]struct{ what, renew, begin, in string }{
		"login": {"login certificate", login, "01:10:38", "15 minutes"},
		"ssh":   {"SSH certificate", login, "01:10:38", "15 minutes"},
		"db":    {`database "pg" certificate`, "tsh db login pg", "01:12:09", "17 minutes"},
		"app":   {`app "hello" certificate`, "tsh apps login hello", "01:34:46", "39 minutes"},
		"kube":  {`kube cluster "realkube" certificate`, "tsh kube login realkube", "01:49:27", "54 minutes"},
	}
	for when, now := range map[string]time.Time{
		"after":  fixtureExpiry.Add(26*time.Hour + time.Minute),
		"before": time.Date(2026, 11, 23, 0, 55, 38, 0, time.UTC),
	} {
		p := mustLoad(t, Options{Dir: fixture, Now: at(now)})
		failures := make(map[string]error)
		for name, load := range certLoaders(p) {
			_, failures[name] = load()
		}
		_, _, failures["ssh"] = p.SSHSigner()
		for name, err := range failures {
			t.Run(when+"/"+name, func(t *testing.T) {
				c := certs[name]
				problem, text := Expired, " expired 2026-11-23 13:11:38 UTC (26 hours ago)"
				if when == "before" {
					problem = NotYet
					text = " is not valid before 2026-11-23 " + c.begin + " UTC (in " + c.in + "; is the clock of this machine right?)"
				}
				if want := c.what + text + "; run: " + c.renew; err == nil || err.Error() != want {
					t.Errorf("text:\n got %v\nwant %s", err, want)
				}
				var ce *CertError
				if !errors.As(err, &ce) || ce.Problem != problem || ce.Renew != c.renew || !ce.Now.Equal(now) {
					t.Errorf("%+v", ce)
				}
				if problem == Expired && !ce.When.Equal(fixtureExpiry) {
					t.Errorf("When = %v", ce.When)
				}
			})
		}
	}
}

// TestFixtureStatus compares with what tsh status said of the same directory.
func TestFixtureStatus(t *testing.T) {
	var theirs struct {
		Active struct {
			Username, Cluster string
			Roles, Logins     []string
			Databases         []string
			ValidUntil        time.Time `json:"valid_until"`
		}
	}
	check(t, json.Unmarshal(must(os.ReadFile("testdata/teleport-14/tsh-status.json")), &theirs))
	p := mustLoad(t, Options{Dir: fixture, Now: at(fixtureNow)})
	list, err := p.Certificates()
	check(t, err)

	var databases, all []string
	for _, s := range list {
		all = append(all, strings.TrimSuffix(string(s.Kind)+" "+s.Name, " "))
		if s.Problem != 0 || s.Err != nil || !s.NotAfter.Equal(theirs.Active.ValidUntil) || s.Cluster != theirs.Active.Cluster {
			t.Errorf("%s %s: %+v", s.Kind, s.Name, s)
		}
		if !strings.HasPrefix(s.Path, filepath.FromSlash(fixture)) || s.Identity.User != theirs.Active.Username {
			t.Errorf("%s %s: path %s, user %s", s.Kind, s.Name, s.Path, s.Identity.User)
		}
		if s.Kind == KindDB {
			databases = append(databases, s.Identity.Database.Service)
		}
	}
	if want := []string{"tls", "ssh", "db my", "db pg", "app hello", "app tcpecho", "kube realkube"}; !cmp.Equal(want, all) {
		t.Errorf("listed %q, want %q", all, want)
	}
	if !cmp.Equal(theirs.Active.Databases, databases) || !cmp.Equal(theirs.Active.Roles, list[0].Identity.Roles) {
		t.Errorf("databases %q, roles %q", databases, list[0].Identity.Roles)
	}

	p = mustLoad(t, Options{Dir: fixture, Now: at(fixtureExpiry.Add(time.Hour))})
	list, err = p.Certificates()
	check(t, err)
	for _, s := range list {
		if s.Problem != Expired || !s.NotAfter.Equal(fixtureExpiry) || s.Identity.User != "alice" {
			t.Errorf("%s %s an hour after: %+v", s.Kind, s.Name, s)
		}
	}
}

func TestFixtureFiles(t *testing.T) {
	p := mustLoad(t, Options{Dir: fixture})
	keys := filepath.Join(fixture, "keys", "localhost")
	got, err := p.DBFiles("pg")
	check(t, err)
	want := Files{
		CA:   filepath.Join(keys, "cas", "real.example.com.pem"),
		Cert: filepath.Join(keys, "alice-db", "real.example.com", "pg-x509.pem"),
		Key:  filepath.Join(keys, "alice"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("DBFiles (-want +got):\n%s", diff)
	}
	key, cert, known := p.SSHFiles()
	if diff := cmp.Diff([]string{
		filepath.Join(keys, "alice"), filepath.Join(keys, "alice-ssh", "real.example.com-cert.pub"),
		filepath.Join(fixture, "known_hosts"),
	}, []string{key, cert, known}); diff != "" {
		t.Errorf("SSHFiles (-want +got):\n%s", diff)
	}
}
