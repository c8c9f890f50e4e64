package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/identity"
)

// full fills every field, and gives multi-valued ones their DER order.
func full() identity.Identity {
	return identity.Identity{
		User: "alice@example.com", Roles: []string{"access", "editor"}, Logins: []string{"root", "alice"},
		Usage: []string{identity.UsageDB}, RouteToCluster: "leaf.example.com", TeleportCluster: "root.example.com",
		Traits:      `{"logins":["root","älice"]}`,
		KubeCluster: "k1", KubeUsers: []string{"*", "ku"}, KubeGroups: []string{"system:masters"},
		App: identity.App{
			Name: "hello", SessionID: "5e551d", PublicAddr: "hello.example.com", Cluster: "leaf.example.com",
			AWSRoleARN: "arn:aws:iam::1:role/x", AzureIdentity: "/subscriptions/1", GCPServiceAccount: "a@b.iam",
		},
		Database: identity.Database{
			Service: "orders", Protocol: "postgres", User: "dba", Name: "app", Roles: []string{"reader", "writer"},
		},
		AllowedDBNames: []string{"app", "*"}, AllowedDBUsers: []string{"*"},
		AWSRoleARNs: []string{"arn:1", "arn:2"}, AzureIdentities: []string{"az1"}, GCPServiceAccounts: []string{"g1"},
		LoginIP: "127.0.0.1", PinnedIP: "10.0.0.1", MFADevice: "dev", PrivateKeyPolicy: "none", UserType: "local",
		Impersonator: "bob", AccessRequests: []string{"r1", "r2"}, Bot: "robot",
	}
}

func TestNameRoundTrip(t *testing.T) {
	for name, id := range map[string]identity.Identity{
		"full":    full(),
		"minimal": {User: "u", Roles: []string{"r"}},
		"db":      {User: "u", Roles: []string{"r"}, Database: identity.Database{Service: "pg", Protocol: "postgres"}},
		"empty":   {},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(id, identity.FromName(id.Name())); diff != "" {
				t.Errorf("FromName(Name()) (-want +got):\n%s", diff)
			}
			if len(id.Roles) == 0 {
				return // no identity for a certificate
			}
			got, err := identity.FromCertificate(certify(t, id.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(id, got); diff != "" {
				t.Errorf("through DER (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFullIsFull keeps full honest: a field added to Identity and forgotten
// there would not be covered by the round trip.
func TestFullIsFull(t *testing.T) {
	for path, value := range fields(full()) {
		if value == "" {
			t.Errorf("%s is empty in full()", path)
		}
	}
}

func TestFromName(t *testing.T) {
	private := func(n ...int) asn1.ObjectIdentifier { return append(asn1.ObjectIdentifier{1, 3, 9999}, n...) }
	tests := []struct {
		name string
		in   []pkix.AttributeTypeAndValue
		want identity.Identity
	}{
		{"app without session", []pkix.AttributeTypeAndValue{
			{Type: private(1, 10), Value: "hello"}, {Type: private(1, 6), Value: "hello.example.com"}, {Type: private(1, 5), Value: "c"},
		}, identity.Identity{}},
		{"database without service", []pkix.AttributeTypeAndValue{
			{Type: private(2, 2), Value: "postgres"}, {Type: private(2, 3), Value: "dba"},
		}, identity.Identity{}},
		{"unknown attribute", []pkix.AttributeTypeAndValue{{Type: private(7, 7), Value: "x"}}, identity.Identity{}},
		{"not a string", []pkix.AttributeTypeAndValue{{Type: private(1, 3), Value: 42}}, identity.Identity{}},
		{"empty value", []pkix.AttributeTypeAndValue{{Type: private(1, 1), Value: ""}}, identity.Identity{}},
		{"longer oid", []pkix.AttributeTypeAndValue{{Type: private(1, 3, 1), Value: "x"}}, identity.Identity{}},
		{"kube", []pkix.AttributeTypeAndValue{{Type: private(1, 3), Value: "k"}}, identity.Identity{KubeCluster: "k"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, identity.FromName(pkix.Name{Names: tt.in})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFromCertificateRefuses(t *testing.T) {
	for name, subject := range map[string]pkix.Name{
		"web server": {CommonName: "www.example.com"},
		"no user":    {Organization: []string{"access"}},
	} {
		if _, err := identity.FromCertificate(certify(t, subject)); !errors.Is(err, identity.ErrNotIdentity) {
			t.Errorf("%s: err = %v, want ErrNotIdentity", name, err)
		}
	}
}

func TestClusterOf(t *testing.T) {
	for want, issuer := range map[string]pkix.Name{
		"by.cn": {CommonName: "by.cn", Organization: []string{"other"}},
		"by.o":  {Organization: []string{"by.o"}},
		"":      {},
	} {
		if got := identity.ClusterOf(&x509.Certificate{Issuer: issuer}); got != want {
			t.Errorf("ClusterOf = %q, want %q", got, want)
		}
	}
}

// TestRealCertificates reads what a v14 cluster issued.
func TestRealCertificates(t *testing.T) {
	keys := filepath.Join("..", "profile", "testdata", "teleport-14", "tsh-home", "keys", "localhost")
	base := identity.Identity{
		User: "alice", Roles: []string{"access", "editor"}, Logins: []string{"root", "alice", "-teleport-internal-join"},
		RouteToCluster: "real.example.com", TeleportCluster: "real.example.com",
		KubeUsers: []string{"*"}, KubeGroups: []string{"*"}, AllowedDBNames: []string{"*"}, AllowedDBUsers: []string{"*"},
		LoginIP: "127.0.0.1", PrivateKeyPolicy: "none",
	}
	tests := []struct {
		file string
		edit func(*identity.Identity)
	}{
		{"alice-x509.pem", func(*identity.Identity) {}},
		{"alice-db/real.example.com/pg-x509.pem", func(i *identity.Identity) {
			i.Usage = []string{identity.UsageDB}
			i.Database = identity.Database{Service: "pg", Protocol: "postgres", User: "alice", Name: "postgres"}
		}},
		{"alice-db/real.example.com/my-x509.pem", func(i *identity.Identity) {
			i.Usage = []string{identity.UsageDB}
			i.Database = identity.Database{Service: "my", Protocol: "mysql", User: "alice"}
		}},
		{"alice-app/real.example.com/hello-x509.pem", func(i *identity.Identity) {
			i.Usage = []string{identity.UsageApps}
			i.App = identity.App{
				Name: "hello", PublicAddr: "hello.localhost", Cluster: "real.example.com",
				SessionID: "b13092a068a1cf7e94b51d24512971dcabe7492324c8cc3dede4664da67c3676",
			}
		}},
		{"alice-kube/real.example.com/realkube-x509.pem", func(i *identity.Identity) {
			i.Usage, i.KubeCluster = []string{identity.UsageKube}, "realkube"
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			c := readCert(t, filepath.Join(keys, tt.file))
			got, err := identity.FromCertificate(c)
			if err != nil {
				t.Fatal(err)
			}
			const traits = `{"aws_role_arns":null,"azure_identities":null,"db_names":["*"],"db_roles":null,"db_users":["*"],` +
				`"gcp_service_accounts":null,"kubernetes_groups":["*"],"kubernetes_users":["*"],"logins":["root","alice"],"windows_logins":null}`
			want := base
			want.Traits = traits
			tt.edit(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if cluster := identity.ClusterOf(c); cluster != "real.example.com" {
				t.Errorf("ClusterOf = %q", cluster)
			}
			again, err := identity.FromCertificate(certify(t, got.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("written again (-want +got):\n%s", diff)
			}
		})
	}
}

// certify returns a parsed self-signed certificate with this subject.
func certify(t *testing.T, subject pkix.Name) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: subject, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func readCert(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("%s: no PEM", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestMultiValuesAreSorted pins what the comment of Identity says.
func TestMultiValuesAreSorted(t *testing.T) {
	id := identity.Identity{User: "u", Roles: []string{"zz", "b", "a"}}
	got, err := identity.FromCertificate(certify(t, id.Name()))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "zz"}; !slices.Equal(got.Roles, want) {
		t.Errorf("roles = %q, want %q", got.Roles, want)
	}
}
