package profile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/identity"
)

// noon is when the tests' certificates are valid, from an hour before to an
// hour after.
var noon = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// testKeys are one key of each kind, made when first needed.
var testKeys = map[string]func() crypto.Signer{
	"rsa": sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) }),
	"ecdsa": sync.OnceValue(func() crypto.Signer {
		return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	}),
	"ed25519": sync.OnceValue(func() crypto.Signer { _, key, err := ed25519.GenerateKey(rand.Reader); return must(key, err) }),
}

// encodings write a private key as PEM, or return nil where the form is not
// for this kind of key.
var encodings = map[string]func(crypto.Signer) []byte{
	"pkcs1": func(key crypto.Signer) []byte {
		if k, ok := key.(*rsa.PrivateKey); ok {
			return encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k))
		}
		return nil
	},
	"sec1": func(key crypto.Signer) []byte {
		if k, ok := key.(*ecdsa.PrivateKey); ok {
			return encode("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(k)))
		}
		return nil
	},
	"pkcs8": func(key crypto.Signer) []byte {
		return encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
	},
	"openssh": func(key crypto.Signer) []byte {
		return pem.EncodeToMemory(must(ssh.MarshalPrivateKey(key, "comment")))
	},
}

func pkcs8(key crypto.Signer) []byte { return encodings["pkcs8"](key) }

func newKey() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// authority signs TLS and SSH certificates for one cluster.
type authority struct {
	cluster string
	key     crypto.Signer
	cert    *x509.Certificate
}

func newAuthority(cluster string) *authority {
	a := &authority{cluster: cluster, key: newKey()}
	name := pkix.Name{CommonName: cluster, Organization: []string{cluster}}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: name, NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key))
	a.cert = must(x509.ParseCertificate(der))
	return a
}

func (a *authority) pem() []byte { return encode("CERTIFICATE", a.cert.Raw) }

// tls signs a certificate for alice, with what edit adds to her identity.
func (a *authority) tls(public crypto.PublicKey, edit editIdentity) []byte {
	id := identity.Identity{User: "alice", Roles: []string{"access"}, RouteToCluster: a.cluster, TeleportCluster: a.cluster}
	if edit != nil {
		edit(&id)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: id.Name(), NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour),
	}
	return encode("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)))
}

// ssh signs a user certificate for alice as an authorized_keys line.
func (a *authority) ssh(public crypto.PublicKey) []byte {
	cert := &ssh.Certificate{
		Key: must(ssh.NewPublicKey(public)), CertType: ssh.UserCert, KeyId: "alice", ValidPrincipals: []string{"root", "alice"},
		ValidAfter: uint64(noon.Add(-time.Hour).Unix()), ValidBefore: uint64(noon.Add(time.Hour).Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{"teleport-route-to-cluster": a.cluster}},
	}
	if err := cert.SignCert(rand.Reader, must(ssh.NewSignerFromSigner(a.key))); err != nil {
		panic(err)
	}
	return ssh.MarshalAuthorizedKey(cert)
}

// editIdentity adds a route to an identity.
type editIdentity func(*identity.Identity)

func withDB(name string) editIdentity {
	return func(id *identity.Identity) {
		id.Database = identity.Database{Service: name, Protocol: "postgres", User: "dba", Name: "app"}
	}
}

func withApp(name string) editIdentity {
	return func(id *identity.Identity) {
		id.App = identity.App{Name: name, SessionID: "s", PublicAddr: name + ".example.com", Cluster: id.RouteToCluster}
	}
}

func withKube(name string) editIdentity {
	return func(id *identity.Identity) { id.KubeCluster = name }
}

// home writes a home directory. Its files are an hour old, so that nothing in
// them looks like a login in progress.
type home struct {
	t     *testing.T
	paths Paths
	ca    *authority
}

const testConfig = `web_proxy_addr: proxy.example.com:3080
ssh_proxy_addr: proxy.example.com:3080
user: alice
cluster: root.example.com
tls_routing_enabled: true
a_future_key: [1, {x: y}]
`

func newHome(t *testing.T) *home {
	h := &home{
		t: t, ca: newAuthority("root.example.com"),
		paths: Paths{Dir: t.TempDir(), Proxy: "proxy.example.com", User: "alice"},
	}
	h.write(CurrentPath(h.paths.Dir), []byte("proxy.example.com\n"))
	h.write(ConfigPath(h.paths.Dir, h.paths.Proxy), []byte(testConfig))
	h.write(KnownHostsPath(h.paths.Dir), []byte("@cert-authority proxy.example.com ssh-ed25519 AAAA type=host\n"))
	h.write(h.paths.ClusterCAs(h.ca.cluster), h.ca.pem())
	return h
}

func (h *home) write(path string, data []byte) {
	h.t.Helper()
	check(h.t, os.MkdirAll(filepath.Dir(path), 0o700))
	check(h.t, os.WriteFile(path, data, 0o600))
	h.age(path, time.Hour)
}

// age makes a file that old.
func (h *home) age(path string, d time.Duration) {
	h.t.Helper()
	when := time.Now().Add(-d)
	check(h.t, os.Chtimes(path, when, when))
}

// login writes the login's and alice's SSH certificate.
func (h *home) login(layout Layout, key crypto.Signer, encoded []byte) {
	h.t.Helper()
	h.write(h.paths.SSHKey(), encoded)
	h.write(h.paths.SSHCert(h.ca.cluster), h.ca.ssh(key.Public()))
	h.tls(layout, KindTLS, "", key, encoded, nil)
}

// tls writes one TLS certificate and, where the layout has one, its key.
func (h *home) tls(layout Layout, kind Kind, name string, key crypto.Signer, encoded []byte, edit editIdentity) Pair {
	h.t.Helper()
	pair := h.paths.Pair(layout, kind, h.ca.cluster, name)
	cert := h.ca.tls(key.Public(), edit)
	if pair.Key == pair.Cert {
		h.write(pair.Cert, append(append(encoded, '\n'), cert...))
		return pair
	}
	h.write(pair.Cert, cert)
	if layout == LayoutV17 {
		h.write(pair.Key, encoded)
	}
	return pair
}

// load loads the home's profile with a clock at noon.
func (h *home) load() *Profile {
	h.t.Helper()
	return mustLoad(h.t, Options{Dir: h.paths.Dir, Now: at(noon)})
}

func mustLoad(t *testing.T, o Options) *Profile {
	t.Helper()
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	p, err := Load(o)
	check(t, err)
	p.pause = func() { t.Error("read again, with no login in progress") }
	return p
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
