package profile

import (
	"bytes"
	"crypto"
	"crypto/tls"
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

// identityFile is an identity file in parts; write joins them.
type identityFile struct {
	t    *testing.T
	path string
	ca   *authority
	key  crypto.Signer

	keyPEM, ssh, tls, hosts, cas []byte
}

const testHosts = "@cert-authority root.example.com,*.root.example.com ssh-ed25519 AAAA type=host\n" +
	"@cert-authority leaf.example.com,*.leaf.example.com ssh-ed25519 BBBB type=host\n"

func newIdentityFile(t *testing.T, key crypto.Signer, encoded []byte) *identityFile {
	ca := newAuthority("root.example.com")
	f := &identityFile{
		t: t, path: filepath.Join(t.TempDir(), "bot.pem"), ca: ca, key: key,
		keyPEM: encoded, ssh: ca.ssh(key.Public()), tls: ca.tls(key.Public(), nil),
		hosts: []byte(testHosts), cas: append(ca.pem(), newAuthority("leaf.example.com").pem()...),
	}
	f.write()
	return f
}

func (f *identityFile) bytes() []byte {
	return bytes.Join([][]byte{f.keyPEM, f.ssh, f.tls, f.hosts, f.cas}, nil)
}

func (f *identityFile) write() {
	f.t.Helper()
	check(f.t, os.WriteFile(f.path, f.bytes(), 0o600))
	old := time.Now().Add(-time.Hour)
	check(f.t, os.Chtimes(f.path, old, old))
}

func (f *identityFile) load() *Profile {
	f.t.Helper()
	return mustLoad(f.t, f.options())
}

func (f *identityFile) options() Options {
	// The directory does not exist: an identity file must not need it.
	return Options{IdentityFile: f.path, Proxy: "https://proxy.example.com", Dir: filepath.Join(f.path, "none"), Now: at(noon)}
}

func TestIdentityFile(t *testing.T) {
	key := newKey()
	f := newIdentityFile(t, key, pkcs8(key))
	p := f.load()
	want := &Profile{
		Name: "proxy.example.com", WebAddr: "proxy.example.com:443", SSHAddr: "proxy.example.com:443",
		KubeAddr: "proxy.example.com:443", User: "alice", Cluster: "root.example.com", IdentityFile: f.path, TLSRouting: true,
	}
	if diff := cmp.Diff(want, p, cmpopts.IgnoreUnexported(Profile{}), cmpopts.IgnoreFields(Profile{}, "ModTime")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	pool, err := p.HostCAs()
	check(t, err)
	cert, err := p.TLSCert()
	check(t, err)
	if len(cert.Certificate) != 1 {
		t.Errorf("%d certificates to send, want 1", len(cert.Certificate))
	}
	if err := cert.Leaf.CheckSignatureFrom(f.ca.cert); err != nil {
		t.Error(err)
	}
	//lint:ignore SA1019 this is not the system pool
	if n := len(pool.Subjects()); n != 2 {
		t.Errorf("%d authorities, want 2", n)
	}
	lines, err := p.HostKeyLines()
	check(t, err)
	if string(lines) != testHosts {
		t.Errorf("HostKeyLines = %q", lines)
	}
	if root, err := p.RootCluster(); err != nil || root != "root.example.com" {
		t.Errorf("RootCluster = %q, %v", root, err)
	}
	list, err := p.Certificates()
	check(t, err)
	if len(list) != 2 || list[0].Kind != KindTLS || list[1].Kind != KindSSH || list[0].Problem != 0 || list[1].Problem != 0 {
		t.Errorf("Certificates = %+v", list)
	}

	// A new identity in the same place, by a bot for instance.
	next := newKey()
	f.key, f.keyPEM, f.tls = next, pkcs8(next), f.ca.tls(next.Public(), nil)
	f.write()
	cert, err = p.TLSCert()
	check(t, err)
	if !samePublic(next, cert.Leaf.PublicKey) {
		t.Error("the new certificate was not read")
	}
}

// TestIdentityFileForms are files that other writers and people's editors make.
func TestIdentityFileForms(t *testing.T) {
	key := newKey()
	for name, change := range map[string]func(f *identityFile, data []byte) []byte{
		"CRLF": func(f *identityFile, data []byte) []byte { return bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")) },
		"indented": func(f *identityFile, data []byte) []byte {
			return bytes.ReplaceAll(data, []byte("\n"), []byte("\n    "))
		},
		"no newline at the end": func(f *identityFile, data []byte) []byte {
			return bytes.TrimRight(data, "\n")
		},
		"comments": func(f *identityFile, data []byte) []byte {
			return append([]byte("# made by hand\n\nssh-ed25519 AAAA not a certificate\n"), data...)
		},
		"other order": func(f *identityFile, _ []byte) []byte {
			return bytes.Join([][]byte{f.hosts, f.tls, f.cas, f.ssh, f.keyPEM}, []byte("\n"))
		},
		"parameters before the key": func(f *identityFile, data []byte) []byte {
			return append(encode("EC PARAMETERS", []byte{6, 8}), data...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newIdentityFile(t, key, encodings["sec1"](key))
			check(t, os.WriteFile(f.path, change(f, f.bytes()), 0o600))
			p := f.load()
			_, err := p.TLSCert()
			check(t, err)
			_, _, err = p.SSHSigner()
			check(t, err)
			_, err = p.HostCAs()
			check(t, err)
			lines, err := p.HostKeyLines()
			check(t, err)
			if string(lines) != testHosts {
				t.Errorf("HostKeyLines = %q", lines)
			}
		})
	}
}

// TestIdentityFileRoutes are files made for one resource.
func TestIdentityFileRoutes(t *testing.T) {
	key := newKey()
	type loader func(p *Profile) func(string) (*tls.Certificate, error)
	for kind, tt := range map[Kind]struct {
		edit editIdentity
		load loader
		list func(p *Profile) ([]string, error)
	}{
		KindDB:   {withDB("r"), func(p *Profile) func(string) (*tls.Certificate, error) { return p.DBCert }, (*Profile).Databases},
		KindApp:  {withApp("r"), func(p *Profile) func(string) (*tls.Certificate, error) { return p.AppCert }, (*Profile).Apps},
		KindKube: {withKube("r"), func(p *Profile) func(string) (*tls.Certificate, error) { return p.KubeCert }, (*Profile).Kubes},
	} {
		t.Run(string(kind), func(t *testing.T) {
			f := newIdentityFile(t, key, pkcs8(key))
			p := f.load()
			_, err := tt.load(p)("r")
			want := what(kind, "r") + " not found (the identity file has none; have one made that does)"
			if err == nil || err.Error() != want {
				t.Errorf("without the route:\n got %v\nwant %s", err, want)
			}
			if names, err := tt.list(p); err != nil || len(names) != 0 {
				t.Errorf("without the route: names %q, %v", names, err)
			}

			f.tls = f.ca.tls(key.Public(), tt.edit)
			f.write()
			c, err := tt.load(p)("r")
			check(t, err)
			if !samePublic(key, c.Leaf.PublicKey) {
				t.Error("another certificate")
			}
			if names, err := tt.list(p); err != nil || !cmp.Equal(names, []string{"r"}) {
				t.Errorf("names = %q, %v", names, err)
			}
			if _, err := tt.load(p)("rr"); err == nil || !strings.Contains(err.Error(), `not found, did you mean "r"? (there are r; the`) {
				t.Errorf("another name: %v", err)
			}
			if _, err := tt.load(p)("../r"); !errors.Is(err, ErrBadName) {
				t.Errorf("bad name: %v", err)
			}
			list, err := p.Certificates()
			check(t, err)
			if last := list[len(list)-1]; len(list) != 3 || last.Kind != kind || last.Name != "r" || last.Problem != 0 {
				t.Errorf("Certificates = %+v", list)
			}
		})
	}
}

func TestIdentityFileLeaf(t *testing.T) {
	key := newKey()
	f := newIdentityFile(t, key, pkcs8(key))
	f.tls = f.ca.tls(key.Public(), func(id *identity.Identity) { id.RouteToCluster = "leaf.example.com" })
	f.write()
	p := f.load()
	if p.Cluster != "leaf.example.com" {
		t.Errorf("Cluster = %s", p.Cluster)
	}
	if root, err := p.RootCluster(); err != nil || root != "root.example.com" {
		t.Errorf("RootCluster = %s, %v", root, err)
	}
}

func TestIdentityFileSSHCertBeside(t *testing.T) {
	key := newKey()
	f := newIdentityFile(t, key, pkcs8(key))
	line := f.ssh
	f.ssh = nil
	f.write()
	p := f.load()
	_, _, err := p.SSHSigner()
	var ce *CertError
	if !errors.As(err, &ce) || ce.Problem != Missing {
		t.Errorf("none: err = %v", err)
	}
	if _, cert, _ := p.SSHFiles(); cert != "" {
		t.Errorf("none: SSHFiles gives %s", cert)
	}
	check(t, os.WriteFile(f.path+"-cert.pub", line, 0o600))
	cert, signer, err := p.SSHSigner()
	useSSH(t, cert, signer, err)
	if k, cert, known := p.SSHFiles(); k != f.path || cert != f.path+"-cert.pub" || known != "" {
		t.Errorf("SSHFiles = %s, %s, %s", k, cert, known)
	}
}

// TestIdentityFileSSHOnly has no TLS certificate, as tctl once made them.
func TestIdentityFileSSHOnly(t *testing.T) {
	key := newKey()
	f := newIdentityFile(t, key, encodings["openssh"](key))
	f.tls, f.cas = nil, nil
	f.write()
	p := f.load()
	if p.User != "alice" || p.Cluster != "root.example.com" {
		t.Errorf("user %s, cluster %s", p.User, p.Cluster)
	}
	_, _, err := p.SSHSigner()
	check(t, err)
	if root, err := p.RootCluster(); err != nil || root != "root.example.com" {
		t.Errorf("RootCluster = %s, %v", root, err)
	}
	renew := "; run: tctl auth sign --user=alice --out=" + f.path
	for want, load := range map[string]func() error{
		"login certificate in the identity file not found (" + f.path + ")" + renew: func() error {
			_, err := p.TLSCert()
			return err
		},
		`host authority of cluster "root.example.com" in the identity file not found (` + f.path + ")" + renew: func() error {
			_, err := p.HostCAs()
			return err
		},
	} {
		if err := load(); err == nil || err.Error() != want {
			t.Errorf("text:\n got %v\nwant %s", err, want)
		}
	}
	if names, err := p.Databases(); err != nil || names != nil {
		t.Errorf("Databases = %q, %v", names, err)
	}
}

func TestBadIdentityFiles(t *testing.T) {
	key, other := newKey(), newKey()
	tests := []struct {
		name    string
		change  func(t *testing.T, f *identityFile)
		problem Problem
		text    string // FILE stands for the path
	}{
		{"missing", func(t *testing.T, f *identityFile) { check(t, os.Remove(f.path)) },
			Missing, "identity file not found (FILE)"},
		{"directory", func(t *testing.T, f *identityFile) { directory(t, f.path) },
			Broken, "identity file cannot be used (FILE: is a directory)"},
		{"empty", func(t *testing.T, f *identityFile) {
			f.keyPEM, f.ssh, f.tls, f.hosts, f.cas = nil, nil, nil, nil, nil
			f.write()
		},
			Broken, "identity file cannot be used (FILE: no private key: not an identity file)"},
		{"cut off", func(t *testing.T, f *identityFile) {
			f.ssh, f.hosts, f.cas, f.tls = nil, nil, nil, f.tls[:200]
			f.write()
		},
			Broken, "identity file cannot be used (FILE: PEM block is cut off)"},
		{"damaged", func(t *testing.T, f *identityFile) {
			f.keyPEM = bytes.Replace(f.keyPEM, []byte("M"), []byte("!"), 1)
			f.write()
		},
			Broken, "identity file cannot be used (FILE: damaged PEM block)"},
		{"wrong key", func(t *testing.T, f *identityFile) { f.keyPEM = pkcs8(other); f.write() },
			Mismatch, "login certificate in the identity file does not belong to its private key (FILE); run: tctl auth sign --user=alice --out=FILE"},
		{"hardware key", func(t *testing.T, f *identityFile) { f.keyPEM = encode("PIV YUBIKEY PRIVATE KEY", nil); f.write() },
			Broken, "login certificate in the identity file cannot be used (FILE: private key is in a hardware security key (PIV), which is not supported); " +
				"run: tctl auth sign --user=alice --out=FILE"},
		{"certificate of rubbish", func(t *testing.T, f *identityFile) { f.tls = encode("CERTIFICATE", []byte{1}); f.write() },
			Broken, "login certificate in the identity file cannot be used (FILE: x509: malformed certificate)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newIdentityFile(t, key, pkcs8(key))
			tt.change(t, f)
			p, err := Load(f.options())
			if err == nil {
				_, err = p.TLSCert()
			}
			var ce *CertError
			if !errors.As(err, &ce) || ce.Problem != tt.problem {
				t.Fatalf("err = %v", err)
			}
			if want := strings.ReplaceAll(tt.text, "FILE", f.path); err.Error() != want {
				t.Errorf("text:\n got %s\nwant %s", err, want)
			}
		})
	}
}

func TestIdentityFileExpired(t *testing.T) {
	key := newKey()
	f := newIdentityFile(t, key, pkcs8(key))
	o := f.options()
	o.Now = at(noon.Add(time.Hour + 90*time.Second))
	p := mustLoad(t, o)
	_, err := p.TLSCert()
	want := "login certificate in the identity file expired 2030-06-01 13:00:00 UTC (90 seconds ago); run: tctl auth sign --user=alice --out=" + f.path
	if err == nil || err.Error() != want {
		t.Errorf("text:\n got %v\nwant %s", err, want)
	}
	list, err := p.Certificates()
	check(t, err)
	for _, s := range list {
		if s.Problem != Expired || s.Identity.User != "alice" || s.NotAfter.IsZero() {
			t.Errorf("%+v", s)
		}
	}
}

func TestIdentityFileNeedsProxy(t *testing.T) {
	if _, err := Load(Options{IdentityFile: "x"}); !errors.Is(err, ErrProxyRequired) {
		t.Errorf("err = %v", err)
	}
	if _, err := Load(Options{IdentityFile: "x", Proxy: "a/../b"}); !errors.Is(err, ErrBadName) {
		t.Errorf("err = %v", err)
	}
	key := newKey()
	f := newIdentityFile(t, key, pkcs8(key))
	p := mustLoad(t, Options{IdentityFile: f.path, Name: "other.test:3080", Now: at(noon)})
	if p.WebAddr != "other.test:3080" {
		t.Errorf("WebAddr = %s", p.WebAddr)
	}
}
