package profile

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPaths pins the names of files, which the lab's writer uses too
// (docs/protocol.md, "Profile directory").
func TestPaths(t *testing.T) {
	p := Paths{Dir: "H", Proxy: "p.test", User: "a@b.com"}
	for got, want := range map[string]string{
		CurrentPath("H"):          "H/current-profile",
		ConfigPath("H", "p.test"): "H/p.test.yaml",
		KnownHostsPath("H"):       "H/known_hosts",
		p.ProxyDir():              "H/keys/p.test",
		p.AllCAs():                "H/keys/p.test/certs.pem",
		p.ClusterCAs("c"):         "H/keys/p.test/cas/c.pem",
		p.SSHKey():                "H/keys/p.test/a@b.com",
		p.SSHPublicKey():          "H/keys/p.test/a@b.com.pub",
		p.SSHCert("c"):            "H/keys/p.test/a@b.com-ssh/c-cert.pub",
		p.DBLocalCA():             "H/keys/p.test/a@b.com-db/proxy-localca.pem",
		p.AppLocalCA("c", "x"):    "H/keys/p.test/a@b.com-app/c/x-localca.pem",
		p.KubeLocalCA("c"):        "H/keys/p.test/a@b.com-kube/c/localca.pem",
		p.KubeConfig("c", "x"):    "H/keys/p.test/a@b.com-kube/c/x-kubeconfig",
		join(p.Pair(LayoutV13, KindTLS, "c", "")):     "H/keys/p.test/a@b.com-x509.pem H/keys/p.test/a@b.com",
		join(p.Pair(LayoutV17, KindTLS, "c", "")):     "H/keys/p.test/a@b.com.crt H/keys/p.test/a@b.com.key",
		join(p.Pair(LayoutV17, KindSSH, "c", "")):     "H/keys/p.test/a@b.com-ssh/c-cert.pub H/keys/p.test/a@b.com",
		join(p.Pair(LayoutV13, KindDB, "c", "x")):     "H/keys/p.test/a@b.com-db/c/x-x509.pem H/keys/p.test/a@b.com",
		join(p.Pair(LayoutV17, KindDB, "c", "x")):     "H/keys/p.test/a@b.com-db/c/x.crt H/keys/p.test/a@b.com-db/c/x.key",
		join(p.Pair(LayoutV13, KindApp, "c", "x")):    "H/keys/p.test/a@b.com-app/c/x-x509.pem H/keys/p.test/a@b.com",
		join(p.Pair(LayoutV17, KindApp, "c", "x")):    "H/keys/p.test/a@b.com-app/c/x.crt H/keys/p.test/a@b.com-app/c/x.key",
		join(p.Pair(LayoutV13, KindKube, "c", "x")):   "H/keys/p.test/a@b.com-kube/c/x-x509.pem H/keys/p.test/a@b.com",
		join(p.Pair(LayoutV17, KindKube, "c", "x.y")): "H/keys/p.test/a@b.com-kube/c/x.y.cred H/keys/p.test/a@b.com-kube/c/x.y.cred",
	} {
		if filepath.ToSlash(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func join(p Pair) string { return p.Cert + " " + p.Key }

func TestResourceName(t *testing.T) {
	for _, tt := range []struct {
		kind       Kind
		file, want string
	}{
		{KindDB, "pg.crt", "pg"}, {KindDB, "pg-x509.pem", "pg"}, {KindDB, "a.b.crt", "a.b"},
		{KindDB, "pg.key", ""}, {KindDB, "pg-wallet", ""}, {KindDB, "proxy-localca.pem", ""}, {KindDB, ".crt", ""},
		{KindDB, "pg.crt.lock", ""}, {KindApp, "hello-localca.pem", ""},
		{KindKube, "k.cred", "k"}, {KindKube, "k-x509.pem", "k"}, {KindKube, "k-kubeconfig", ""}, {KindKube, "k.crt", ""},
		{KindSSH, "c-cert.pub", "c"}, {KindSSH, "c.crt", ""},
	} {
		if got, ok := resourceName(tt.kind, tt.file); got != tt.want || ok != (tt.want != "") {
			t.Errorf("resourceName(%s, %s) = %q, %t", tt.kind, tt.file, got, ok)
		}
	}
}

// TestLeafCluster looks certificates up in the leaf and authorities in the
// root.
func TestLeafCluster(t *testing.T) {
	h, key := newHome(t), newKey()
	root := h.ca
	h.login(LayoutV17, key, pkcs8(key))
	h.ca = newAuthority("leaf.example.com")
	h.write(h.paths.ClusterCAs(h.ca.cluster), h.ca.pem())
	h.tls(LayoutV17, KindDB, "pg", key, pkcs8(key), withDB("pg"))
	config := strings.Replace(testConfig, "cluster: root.example.com", "cluster: leaf.example.com", 1)

	for name, load := range map[string]func() *Profile{
		"set by the caller": func() *Profile { p := h.load(); p.Cluster = "leaf.example.com"; return p },
		"in the profile": func() *Profile {
			h.write(ConfigPath(h.paths.Dir, h.paths.Proxy), []byte(config))
			defer h.write(ConfigPath(h.paths.Dir, h.paths.Proxy), []byte(testConfig))
			return h.load()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := load()
			if got, err := p.RootCluster(); err != nil || got != "root.example.com" {
				t.Errorf("RootCluster = %s, %v", got, err)
			}
			if _, err := p.DBCert("pg"); err != nil {
				t.Error(err)
			}
			if _, err := p.TLSCert(); err != nil {
				t.Error(err)
			}
			if cert, _, err := p.SSHSigner(); err != nil || cert.Permissions.Extensions["teleport-route-to-cluster"] != "root.example.com" {
				t.Errorf("SSHSigner: %v", err)
			}
			certs, err := p.hostCAs()
			check(t, err)
			if len(certs) != 1 || !certs[0].Equal(root.cert) {
				t.Error("HostCAs is not the root cluster's authority")
			}
			files, err := p.DBFiles("pg")
			check(t, err)
			if files.CA != h.paths.ClusterCAs("root.example.com") {
				t.Errorf("DBFiles: CA is %s", files.CA)
			}
		})
	}
	p := h.load()
	if _, err := p.DBCert("pg"); err == nil || !strings.Contains(err.Error(), "(there is one for --cluster=leaf.example.com)") {
		t.Errorf("in the root: %v", err)
	}
}

// TestSSHCertOfLeafOnly has no certificate named for the root.
func TestSSHCertOfLeafOnly(t *testing.T) {
	h, key := newHome(t), newKey()
	h.login(LayoutV17, key, pkcs8(key))
	check(t, os.Rename(h.paths.SSHCert("root.example.com"), h.paths.SSHCert("leaf.example.com")))
	p := h.load()
	p.Cluster = "leaf.example.com"
	_, _, err := p.SSHSigner()
	check(t, err)
	if _, cert, _ := p.SSHFiles(); cert != h.paths.SSHCert("leaf.example.com") {
		t.Errorf("SSHFiles: certificate is %s", cert)
	}
}

// TestHostCAs are the places and states of the authorities' file.
func TestHostCAs(t *testing.T) {
	const renew = "; run: tsh login --proxy=proxy.example.com:3080 --user=alice"
	const name = `host authority of cluster "root.example.com" `
	other := newAuthority("other.example.com")
	tests := []struct {
		name   string
		change func(t *testing.T, h *home)
		want   int
		text   string // CA and ALL stand for the paths
	}{
		{"own file", func(t *testing.T, h *home) { h.write(h.paths.AllCAs(), other.pem()) }, 1, ""},
		{"rotating", func(t *testing.T, h *home) {
			h.write(h.paths.ClusterCAs(h.ca.cluster), append(h.ca.pem(), other.pem()...))
		}, 2, ""},
		{"only the old file", func(t *testing.T, h *home) {
			check(t, os.Rename(h.paths.ClusterCAs(h.ca.cluster), h.paths.AllCAs()))
		}, 1, ""},
		{"no file", func(t *testing.T, h *home) { check(t, os.Remove(h.paths.ClusterCAs(h.ca.cluster))) },
			0, name + "not found (ALL)" + renew},
		{"empty", func(t *testing.T, h *home) { h.write(h.paths.ClusterCAs(h.ca.cluster), nil) },
			0, name + "cannot be used (CA: no certificate in PEM form)" + renew},
		{"directory", func(t *testing.T, h *home) { directory(t, h.paths.ClusterCAs(h.ca.cluster)) },
			0, name + "cannot be used (CA: is a directory)" + renew},
		{"rubbish", func(t *testing.T, h *home) {
			h.write(h.paths.ClusterCAs(h.ca.cluster), encode("CERTIFICATE", []byte("x")))
		}, 0, name + "cannot be used (CA: x509: malformed certificate)" + renew},
		{"login certificate missing", func(t *testing.T, h *home) {
			check(t, os.Remove(h.paths.Pair(LayoutV17, KindTLS, "", "").Cert))
		}, 1, ""},
		{"login certificate broken", func(t *testing.T, h *home) {
			h.write(h.paths.Pair(LayoutV17, KindTLS, "", "").Cert, []byte("x"))
		}, 0, "login certificate cannot be used (LOGIN: no certificate in PEM form)" + renew},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, key := newHome(t), newKey()
			h.login(LayoutV17, key, pkcs8(key))
			tt.change(t, h)
			p := h.load()
			pool, err := p.HostCAs()
			if tt.text != "" {
				want := strings.NewReplacer("CA:", h.paths.ClusterCAs(h.ca.cluster)+":", "ALL", h.paths.AllCAs(),
					"LOGIN", h.paths.Pair(LayoutV17, KindTLS, "", "").Cert).Replace(tt.text)
				var ce *CertError
				if !errors.As(err, &ce) || err.Error() != want {
					t.Errorf("text:\n got %v\nwant %s", err, want)
				}
				return
			}
			check(t, err)
			//lint:ignore SA1019 this is not the system pool
			if n := len(pool.Subjects()); n != tt.want {
				t.Errorf("%d authorities, want %d", n, tt.want)
			}
			text, err := p.HostCAsPEM()
			check(t, err)
			if fromPEM := x509.NewCertPool(); !fromPEM.AppendCertsFromPEM(text) || !fromPEM.Equal(pool) {
				t.Errorf("as PEM others: %s", text)
			}
		})
	}
}

func TestHostKeyLinesMissing(t *testing.T) {
	h := newHome(t)
	path := KnownHostsPath(h.paths.Dir)
	check(t, os.Remove(path))
	_, err := h.load().HostKeyLines()
	want := "list of SSH host authorities not found (" + path + "); run: tsh login --proxy=proxy.example.com:3080 --user=alice"
	if err == nil || err.Error() != want {
		t.Errorf("text:\n got %v\nwant %s", err, want)
	}
}

// TestBadSSH is one bad SSH file at a time.
func TestBadSSH(t *testing.T) {
	const renew = "; run: tsh login --proxy=proxy.example.com:3080 --user=alice"
	tests := []struct {
		name   string
		change func(t *testing.T, h *home, cert, key string)
		text   string // CERT and KEY stand for the paths
	}{
		{"no certificate", func(t *testing.T, h *home, cert, key string) { check(t, os.Remove(cert)) },
			"SSH certificate not found (CERT)"},
		{"no key", func(t *testing.T, h *home, cert, key string) { check(t, os.Remove(key)) },
			"SSH certificate cannot be used (KEY: private key: no such file or directory)"},
		{"plain key", func(t *testing.T, h *home, cert, key string) {
			h.write(cert, []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKSa9xxCmyDC8P0cV9qPGFjWcR7NtdLdRe/u7YyAMqxs\n"))
		}, "SSH certificate cannot be used (CERT: a plain SSH key, not a certificate)"},
		{"rubbish", func(t *testing.T, h *home, cert, key string) { h.write(cert, []byte("rubbish\n")) },
			"SSH certificate cannot be used (CERT: ssh: no key found)"},
		{"other key", func(t *testing.T, h *home, cert, key string) { h.write(key, pkcs8(newKey())) },
			"SSH certificate does not belong to its private key (KEY)"},
		{"directory", func(t *testing.T, h *home, cert, key string) { directory(t, cert) },
			"SSH certificate cannot be used (CERT: is a directory)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, key := newHome(t), newKey()
			h.login(LayoutV17, key, pkcs8(key))
			certPath, keyPath := h.paths.SSHCert(h.ca.cluster), h.paths.SSHKey()
			tt.change(t, h, certPath, keyPath)
			p := h.load()
			_, _, err := p.SSHSigner()
			want := strings.NewReplacer("CERT", certPath, "KEY", keyPath).Replace(tt.text) + renew
			var ce *CertError
			if !errors.As(err, &ce) || err.Error() != want {
				t.Errorf("text:\n got %v\nwant %s", err, want)
			}
			list, err := p.Certificates()
			check(t, err)
			if len(list) != 2 || list[0].Problem != 0 || list[1].Problem != ce.Problem || list[1].Path == "" {
				t.Errorf("Certificates = %+v", list)
			}
		})
	}
}

// TestStatusOfBrokenDirectory has something of everything.
func TestStatusOfBrokenDirectory(t *testing.T) {
	h, key := newHome(t), newKey()
	h.login(LayoutV17, key, pkcs8(key))
	h.tls(LayoutV13, KindDB, "old", newKey(), nil, withDB("old")) // the key of a login before
	h.tls(LayoutV17, KindDB, "good", key, pkcs8(key), withDB("good"))
	h.write(h.paths.Pair(LayoutV17, KindApp, h.ca.cluster, "broken").Cert, []byte("x"))
	h.tls(LayoutV17, KindKube, "k", key, pkcs8(key), withKube("k"))
	check(t, os.Remove(h.paths.Pair(LayoutV17, KindTLS, "", "").Cert))
	h.write(h.paths.KindDir(KindApp)+"/stray", nil) // not a cluster's directory
	list, err := h.load().Certificates()
	check(t, err)
	var got []string
	for _, s := range list {
		got = append(got, strings.Join([]string{string(s.Kind), s.Name, s.Problem.String(), s.Identity.User}, "/"))
		if (s.Err != nil) != (s.Problem != 0) || s.Path == "" {
			t.Errorf("%+v", s)
		}
	}
	want := []string{
		"tls//missing/", "ssh//ok/alice", "db/good/ok/alice", "db/old/mismatch/alice", "app/broken/broken/", "kube/k/ok/alice",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLooseFiles(t *testing.T) {
	h, key := newHome(t), newKey()
	h.login(LayoutV17, key, pkcs8(key))
	db := h.tls(LayoutV17, KindDB, "pg", key, pkcs8(key), withDB("pg"))
	h.tls(LayoutV17, KindApp, "a", key, pkcs8(key), withApp("a"))
	p := h.load()
	if loose := p.LooseFiles(); len(loose) != 0 {
		t.Errorf("all are 0600: %q", loose)
	}
	check(t, os.Chmod(h.paths.SSHKey(), 0o640))
	check(t, os.Chmod(db.Key, 0o604))
	check(t, os.Chmod(db.Cert, 0o644)) // no secret
	if diff := cmp.Diff([]string{h.paths.SSHKey(), db.Key}, p.LooseFiles()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f := newIdentityFile(t, key, pkcs8(key))
	check(t, os.Chmod(f.path, 0o644))
	if diff := cmp.Diff([]string{f.path}, f.load().LooseFiles()); diff != "" {
		t.Errorf("identity file (-want +got):\n%s", diff)
	}
}
