package profile

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
)

type signer = crypto.Signer

// certLoaders are the ways to get a TLS certificate of the fixture.
func certLoaders(p *Profile) map[string]func() (*tls.Certificate, error) {
	return map[string]func() (*tls.Certificate, error){
		"login": p.TLSCert,
		"db":    func() (*tls.Certificate, error) { return p.DBCert("pg") },
		"app":   func() (*tls.Certificate, error) { return p.AppCert("hello") },
		"kube":  func() (*tls.Certificate, error) { return p.KubeCert("realkube") },
	}
}

// TestKeysAndLayouts loads every kind of key in every form from every layout,
// and lets crypto/tls and x/crypto/ssh use it.
func TestKeysAndLayouts(t *testing.T) {
	for kind, key := range testKeys {
		for form, marshal := range encodings {
			encoded := marshal(key())
			if encoded == nil {
				continue // not a form for this kind
			}
			for name, layout := range map[string]Layout{"v13": LayoutV13, "v17": LayoutV17} {
				t.Run(kind+"/"+form+"/"+name, func(t *testing.T) {
					h := newHome(t)
					h.login(layout, key(), encoded)
					for resource, edit := range resources {
						h.tls(layout, resource, "r-1", key(), encoded, edit)
					}
					p := h.load()
					useAll(t, p)
					cert, signer, err := p.SSHSigner()
					useSSH(t, cert, signer, err)
				})
			}
			t.Run(kind+"/"+form+"/identity", func(t *testing.T) {
				f := newIdentityFile(t, key(), encoded)
				p := f.load()
				_, err := p.TLSCert()
				check(t, err)
				cert, signer, err := p.SSHSigner()
				useSSH(t, cert, signer, err)
			})
		}
	}
}

var resources = map[Kind]editIdentity{KindDB: withDB("r-1"), KindApp: withApp("r-1"), KindKube: withKube("r-1")}

func useAll(t *testing.T, p *Profile) {
	t.Helper()
	for name, load := range map[string]func() (*tls.Certificate, error){
		"login": p.TLSCert,
		"db":    func() (*tls.Certificate, error) { return p.DBCert("r-1") },
		"app":   func() (*tls.Certificate, error) { return p.AppCert("r-1") },
		"kube":  func() (*tls.Certificate, error) { return p.KubeCert("r-1") },
	} {
		c, err := load()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		pool, err := p.HostCAs()
		check(t, err)
		usage := []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: noon, KeyUsages: usage}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		keyPEM := pkcs8(c.PrivateKey.(crypto.Signer))
		if _, err := tls.X509KeyPair(encode("CERTIFICATE", c.Certificate[0]), keyPEM); err != nil {
			t.Errorf("%s: crypto/tls: %v", name, err)
		}
	}
}

func useSSH(t *testing.T, cert *ssh.Certificate, signer ssh.Signer, err error) {
	t.Helper()
	check(t, err)
	signature, err := signer.Sign(nil, []byte("data"))
	check(t, err)
	check(t, cert.Key.Verify([]byte("data"), signature))
	if cert.KeyId != "alice" || signer.PublicKey().Type() != cert.Type() {
		t.Errorf("key id %q, signer %s, certificate %s", cert.KeyId, signer.PublicKey().Type(), cert.Type())
	}
}

// TestNewerLayoutWins has both layouts side by side, as after a change of
// tsh's version.
func TestNewerLayoutWins(t *testing.T) {
	for name, tt := range map[string]struct {
		ages map[Layout]time.Duration
		want Layout
	}{
		"updated":      {map[Layout]time.Duration{LayoutV13: 3 * time.Hour, LayoutV17: time.Hour}, LayoutV17},
		"gone back":    {map[Layout]time.Duration{LayoutV13: time.Hour, LayoutV17: 3 * time.Hour}, LayoutV13},
		"the same age": {map[Layout]time.Duration{LayoutV13: time.Hour, LayoutV17: time.Hour}, LayoutV17},
	} {
		t.Run(name, func(t *testing.T) {
			h, old, current := newHome(t), newKey(), newKey()
			h.login(LayoutV13, old, pkcs8(old))
			same := time.Now()
			for layout, key := range map[Layout]crypto.Signer{LayoutV13: old, LayoutV17: current} {
				for _, path := range []string{
					h.tls(layout, KindTLS, "", key, pkcs8(key), nil).Cert,
					h.tls(layout, KindDB, "pg", key, pkcs8(key), withDB("pg")).Cert,
				} {
					when := same.Add(-tt.ages[layout])
					check(t, os.Chtimes(path, when, when))
				}
			}
			want := map[Layout]crypto.Signer{LayoutV13: old, LayoutV17: current}[tt.want]
			p := h.load()
			for name, load := range map[string]func() (*tls.Certificate, error){
				"login": p.TLSCert, "db": func() (*tls.Certificate, error) { return p.DBCert("pg") },
			} {
				c, err := load()
				check(t, err)
				if !samePublic(want, c.Leaf.PublicKey) {
					t.Errorf("%s: took the older layout", name)
				}
			}
			names, err := p.Databases()
			check(t, err)
			if !cmp.Equal([]string{"pg"}, names) {
				t.Errorf("Databases = %q", names)
			}
		})
	}
}

// TestReloginHeals replaces the certificates under a loaded profile.
func TestReloginHeals(t *testing.T) {
	h, first, second := newHome(t), newKey(), newKey()
	h.login(LayoutV17, first, pkcs8(first))
	p := h.load()
	before, err := p.TLSCert()
	check(t, err)
	h.ca = newAuthority(h.ca.cluster) // rotated
	h.write(h.paths.ClusterCAs(h.ca.cluster), h.ca.pem())
	h.login(LayoutV17, second, pkcs8(second))
	after, err := p.TLSCert()
	check(t, err)
	if before.Leaf.Equal(after.Leaf) || !samePublic(second, after.Leaf.PublicKey) {
		t.Error("the new certificate was not read")
	}
	pool, err := p.HostCAs()
	check(t, err)
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	if _, err := after.Leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: noon, KeyUsages: usage}); err != nil {
		t.Errorf("the new authority was not read: %v", err)
	}
	if _, _, err := p.SSHSigner(); err != nil {
		t.Error(err)
	}
}

// TestLoginInProgress reads while tsh is between two files: the writer goes on
// only when the reader pauses.
func TestLoginInProgress(t *testing.T) {
	old, key := newKey(), newKey()
	tests := map[string]struct {
		halfway func(h *home, pair Pair)
		want    Problem // with a writer that never goes on
	}{
		"key is new, certificate old": {func(h *home, pair Pair) { rewrite(t, pair.Key, pkcs8(key)) }, Mismatch},
		"key is empty":                {func(h *home, pair Pair) { rewrite(t, pair.Key, nil) }, Broken},
		"certificate is empty":        {func(h *home, pair Pair) { rewrite(t, pair.Cert, nil) }, Broken},
		"certificate is cut off": {func(h *home, pair Pair) {
			rewrite(t, pair.Cert, h.ca.tls(key.Public(), nil)[:200])
		}, Broken},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			h.login(LayoutV17, old, pkcs8(old))
			pair := h.tls(LayoutV17, KindDB, "pg", old, pkcs8(old), withDB("pg"))
			tt.halfway(h, pair)

			p := h.load()
			pauses := 0
			p.pause = func() { pauses++ }
			var ce *CertError
			if _, err := p.DBCert("pg"); !errors.As(err, &ce) || ce.Problem != tt.want || pauses != rereads {
				t.Errorf("abandoned: err = %v after %d pauses, want %v after %d", err, pauses, tt.want, rereads)
			}
			p.pause = func() {
				rewrite(t, pair.Key, pkcs8(key))
				rewrite(t, pair.Cert, h.ca.tls(key.Public(), withDB("pg")))
			}
			c, err := p.DBCert("pg")
			check(t, err)
			if !samePublic(key, c.Leaf.PublicKey) {
				t.Error("finished: got the old certificate")
			}
		})
	}
}

// rewrite replaces a file's content now.
func rewrite(t *testing.T, path string, data []byte) {
	t.Helper()
	check(t, os.WriteFile(path, data, 0o600))
}

// TestBadCertificates is one bad file at a time. The errors are the text a
// user gets.
func TestBadCertificates(t *testing.T) {
	other := newKey()
	encrypted := must(ssh.MarshalPrivateKeyWithPassphrase(other, "", []byte("secret")))
	tests := []struct {
		name    string
		layout  Layout
		break_  func(t *testing.T, h *home, pair Pair)
		problem Problem
		text    string // CERT and KEY stand for the paths
		is      error
	}{
		{"key of another", LayoutV17, func(t *testing.T, h *home, pair Pair) { h.write(pair.Key, pkcs8(other)) },
			Mismatch, `database "pg" certificate does not belong to its private key (KEY); run: tsh db login pg`, nil},
		{"key of a new login", LayoutV13, func(t *testing.T, h *home, pair Pair) { h.write(pair.Key, pkcs8(other)) },
			Mismatch, `database "pg" certificate does not belong to its private key (KEY); run: tsh db login pg`, nil},
		{"certificate missing", LayoutV17, func(t *testing.T, h *home, pair Pair) { check(t, os.Remove(pair.Cert)) },
			Missing, `database "pg" certificate not found (CERT); run: tsh db login pg`, fs.ErrNotExist},
		{"key missing", LayoutV17, func(t *testing.T, h *home, pair Pair) { check(t, os.Remove(pair.Key)) },
			Broken, `database "pg" certificate cannot be used (KEY: private key: no such file or directory); run: tsh db login pg`, fs.ErrNotExist},
		{"shared key missing", LayoutV13, func(t *testing.T, h *home, pair Pair) { check(t, os.Remove(pair.Key)) },
			Broken, `database "pg" certificate cannot be used (KEY: private key: no such file or directory); ` +
				`run: tsh login --proxy=proxy.example.com:3080 --user=alice`, fs.ErrNotExist},
		{"certificate truncated", LayoutV17, func(t *testing.T, h *home, pair Pair) { halve(t, h, pair.Cert) },
			Broken, `database "pg" certificate cannot be used (CERT: no certificate in PEM form); run: tsh db login pg`, nil},
		{"key truncated", LayoutV17, func(t *testing.T, h *home, pair Pair) { halve(t, h, pair.Key) },
			Broken, `database "pg" certificate cannot be used (KEY: no private key in PEM form); run: tsh db login pg`, nil},
		{"certificate is no certificate", LayoutV17, func(t *testing.T, h *home, pair Pair) {
			h.write(pair.Cert, encode("CERTIFICATE", []byte{1, 2, 3}))
		}, Broken, `database "pg" certificate cannot be used (CERT: x509: malformed certificate); run: tsh db login pg`, nil},
		{"key encrypted", LayoutV17, func(t *testing.T, h *home, pair Pair) { h.write(pair.Key, pem.EncodeToMemory(encrypted)) },
			Broken, `database "pg" certificate cannot be used (KEY: private key is protected by a passphrase, which is not supported); ` +
				`run: tsh db login pg`, ErrKeyEncrypted},
		{"key in hardware", LayoutV17, func(t *testing.T, h *home, pair Pair) {
			h.write(pair.Key, encode("PIV YUBIKEY PRIVATE KEY", []byte("{}")))
		}, Broken, `database "pg" certificate cannot be used (KEY: private key is in a hardware security key (PIV), which is not supported); ` +
			`run: tsh db login pg`, ErrKeyInHardware},
		{"directory in place of the certificate", LayoutV17, func(t *testing.T, h *home, pair Pair) { directory(t, pair.Cert) },
			Broken, `database "pg" certificate cannot be used (CERT: is a directory); run: tsh db login pg`, nil},
		{"directory in place of the key", LayoutV13, func(t *testing.T, h *home, pair Pair) { directory(t, pair.Key) },
			Broken, `database "pg" certificate cannot be used (KEY: private key: is a directory); ` +
				`run: tsh login --proxy=proxy.example.com:3080 --user=alice`, nil},
		{"certificate links to itself", LayoutV17, func(t *testing.T, h *home, pair Pair) {
			check(t, os.Remove(pair.Cert))
			check(t, os.Symlink(pair.Cert, pair.Cert))
		}, Broken, `database "pg" certificate cannot be used (CERT: too many levels of symbolic links); run: tsh db login pg`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, key := newHome(t), newKey()
			h.login(tt.layout, key, pkcs8(key))
			pair := h.tls(tt.layout, KindDB, "pg", key, pkcs8(key), withDB("pg"))
			p := h.load()
			if _, err := p.DBCert("pg"); err != nil {
				t.Fatalf("before: %v", err)
			}
			tt.break_(t, h, pair)
			_, err := p.DBCert("pg")
			var ce *CertError
			if !errors.As(err, &ce) || ce.Problem != tt.problem || tt.is != nil && !errors.Is(err, tt.is) {
				t.Fatalf("err = %v (%+v)", err, ce)
			}
			want := strings.NewReplacer("CERT", pair.Cert, "KEY", pair.Key).Replace(tt.text)
			if got := err.Error(); got != want {
				t.Errorf("text:\n got %s\nwant %s", got, want)
			}
			// The rest of the login is not harmed, unless the key is shared.
			if _, err := p.TLSCert(); err != nil && tt.layout == LayoutV17 {
				t.Errorf("login certificate: %v", err)
			}
			list, err := p.Certificates()
			check(t, err)
			for _, s := range list {
				if s.Kind == KindDB && s.Problem != tt.problem {
					t.Errorf("listed as %v, want %v", s.Problem, tt.problem)
				}
			}
		})
	}
}

// TestUnreadable needs a user whom permissions bind.
func TestUnreadable(t *testing.T) {
	h, key := newHome(t), newKey()
	h.login(LayoutV17, key, pkcs8(key))
	pair := h.paths.Pair(LayoutV17, KindTLS, "", "")
	check(t, os.Chmod(pair.Key, 0))
	if _, err := os.ReadFile(pair.Key); err == nil {
		t.Skip("this user may read everything; symbolic links stand in for it in TestBadCertificates")
	}
	_, err := h.load().TLSCert()
	want := "login certificate cannot be used (" + pair.Key + ": private key: permission denied); " +
		"run: tsh login --proxy=proxy.example.com:3080 --user=alice"
	if err == nil || err.Error() != want || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("err = %v\nwant  %s", err, want)
	}
}

func TestMissingNames(t *testing.T) {
	h, key := newHome(t), newKey()
	h.login(LayoutV17, key, pkcs8(key))
	for _, name := range []string{"orders", "orders-test", "pg"} {
		h.tls(LayoutV17, KindDB, name, key, pkcs8(key), withDB(name))
	}
	h.write(h.paths.Pair(LayoutV17, KindDB, "leaf.example.com", "billing").Cert, nil)
	p := h.load()
	for name, want := range map[string]string{
		"ordres":  `database "ordres" certificate not found, did you mean "orders"? (there are orders, orders-test, pg); if not, run: tsh db login ordres`,
		"zzz":     `database "zzz" certificate not found (there are orders, orders-test, pg); run: tsh db login zzz`,
		"billing": `database "billing" certificate not found (there are orders, orders-test, pg; there is one for --cluster=leaf.example.com); run: tsh db login billing`,
		"it's $x": `database "it's $x" certificate not found (there are orders, orders-test, pg); run: tsh db login 'it'\''s $x'`,
	} {
		_, err := p.DBCert(name)
		if err == nil || err.Error() != want {
			t.Errorf("text:\n got %v\nwant %s", err, want)
		}
		if _, again := p.DBFiles(name); again == nil || again.Error() != want {
			t.Errorf("DBFiles: %v", again)
		}
	}
	e := &CertError{What: "x", Problem: Missing, Names: []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}}
	if got, want := e.Error(), "x not found (there are 1, 2, 3, 4, 5, 6, 7, 8 and 2 more)"; got != want {
		t.Errorf("got %s", got)
	}
}

// TestBadNames has names that would leave the directory they belong in.
func TestBadNames(t *testing.T) {
	h, key := newHome(t), newKey()
	h.login(LayoutV17, key, pkcs8(key))
	h.write(filepath.Join(h.paths.Dir, "stray.crt"), h.ca.tls(key.Public(), withDB("stray")))
	h.write(filepath.Join(h.paths.Dir, "stray.key"), pkcs8(key))
	for _, name := range []string{"", ".", "..", "../stray", "../../../../stray", "/etc/passwd", "a/b", "a\x00b", "a\nb"} {
		p := h.load()
		calls := map[string]func() error{
			"DBCert":   func() error { _, err := p.DBCert(name); return err },
			"AppCert":  func() error { _, err := p.AppCert(name); return err },
			"KubeCert": func() error { _, err := p.KubeCert(name); return err },
			"DBFiles":  func() error { _, err := p.DBFiles(name); return err },
			"cluster":  func() error { p.Cluster = name; _, err := p.DBCert("stray"); return err },
			"list":     func() error { p.Cluster = name; _, err := p.Databases(); return err },
			"Load":     func() error { _, err := Load(Options{Dir: h.paths.Dir, Name: name}); return err },
		}
		for call, f := range calls {
			err := f()
			if call == "Load" && name == "" {
				continue // the current profile
			}
			if !errors.Is(err, ErrBadName) {
				t.Errorf("%s(%q): err = %v, want ErrBadName", call, name, err)
			} else if strings.ContainsAny(err.Error(), "\x00\n") {
				t.Errorf("%s(%q): control characters in %q", call, name, err)
			}
		}
	}
}

func halve(t *testing.T, h *home, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	h.write(path, data[:len(data)/2])
}

func directory(t *testing.T, path string) {
	t.Helper()
	check(t, os.Remove(path))
	check(t, os.Mkdir(path, 0o700))
}
