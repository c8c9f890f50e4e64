package lab

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/identity"
	"tshx/internal/profile"
	"tshx/internal/proxyserver"
)

// The homes are what the client's own reader takes for a login.
func TestHomeLoads(t *testing.T) {
	c := Demo()
	c.Databases[0].User = "app"
	c.Databases = append(c.Databases, Database{Name: "docs", Protocol: "mongodb", Addr: "127.0.0.1:1"})
	l := start(t, c)
	for _, tt := range []struct {
		name string
		o    HomeOptions
	}{
		{"v13, rsa", HomeOptions{Layout: profile.LayoutV13}},
		{"v13, ecdsa", HomeOptions{Layout: profile.LayoutV13, Algorithm: proxyserver.ECDSA}},
		{"v13, ed25519", HomeOptions{Layout: profile.LayoutV13, Algorithm: proxyserver.Ed25519}},
		{"v17", HomeOptions{}},
		{"v17, rsa", HomeOptions{Algorithm: proxyserver.RSA}},
		{"v17, other user", HomeOptions{User: "bob"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := writeHome(t, l, l.Addr, tt.o)
			user := "alice"
			if tt.o.User != "" {
				user = tt.o.User
			}
			if h.WebAddr != l.Addr || h.Name != "localhost" || h.User != user || h.Cluster != "lab.example.com" || !h.TLSRouting || h.UpgradeRequired != nil {
				t.Errorf("profile %+v", h.Profile)
			}
			status, err := h.Certificates()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range status {
				if s.Err != nil {
					t.Errorf("%+v", s)
				}
			}
			db, err := h.DBCert("cache")
			if err != nil {
				t.Fatal(err)
			}
			if err := verifies(db.Leaf, l.Authority.User.Pool()); err != nil {
				t.Error(err)
			}
			id, err := identity.FromCertificate(db.Leaf)
			if want := (identity.Database{Service: "cache", Protocol: "redis", User: "app"}); err != nil || !cmp.Equal(id.Database, want) {
				t.Errorf("route %+v, %v", id.Database, err)
			}
			docs, err := h.DBFiles("docs")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tls.LoadX509KeyPair(docs.Cert, docs.Cert); err != nil {
				t.Errorf("the certificate file of MongoDB: %v", err)
			}
			app, err := h.AppCert("echo")
			if err != nil {
				t.Fatal(err)
			}
			if id, err := identity.FromCertificate(app.Leaf); err != nil || id.App.Name != "echo" || id.App.SessionID == "" {
				t.Errorf("route %+v, %v", id.App, err)
			}
			cert, _, err := h.SSHSigner()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"root", "alice"}, cert.ValidPrincipals); diff != "" {
				t.Error(diff)
			}
			if root, err := h.RootCluster(); err != nil || root != "lab.example.com" {
				t.Errorf("root cluster %q, %v", root, err)
			}
		})
	}
}

func TestHomeModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no such modes here")
	}
	l := start(t, Demo())
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	if err := l.WriteHome(home, l.Addr, HomeOptions{}); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		switch base := d.Name(); {
		case d.IsDir():
			want = 0o700
		case base == "current-profile", strings.HasSuffix(base, ".yaml"):
			want = 0o660
		case base == "known_hosts", base == "certs.pem", filepath.Base(filepath.Dir(path)) == "cas":
			want = 0o640
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %o, want %o", path, got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBrokenHomes(t *testing.T) {
	l := start(t, Demo())
	for _, layout := range []profile.Layout{profile.LayoutV13, profile.LayoutV17} {
		for _, tt := range []struct {
			name string
			o    HomeOptions
			want profile.Problem
		}{
			{"expired", HomeOptions{TTL: -time.Hour}, profile.Expired},
			{"mismatch", HomeOptions{Mismatch: true}, profile.Mismatch},
		} {
			tt.o.Layout = layout
			h := writeHome(t, l, l.Addr, tt.o)
			_, err := h.DBCert("cache")
			var ce *profile.CertError
			if !errors.As(err, &ce) || ce.Problem != tt.want {
				t.Errorf("%s, layout %d: %v", tt.name, layout, err)
			}
			if _, _, err = h.SSHSigner(); !errors.As(err, &ce) || ce.Problem != tt.want {
				t.Errorf("%s, layout %d, ssh: %v", tt.name, layout, err)
			}
		}
	}
}

// A home written again is a new login.
func TestRenewHome(t *testing.T) {
	l := start(t, Demo())
	dir := t.TempDir()
	if err := l.WriteHome(dir, l.Addr, HomeOptions{TTL: -time.Hour}); err != nil {
		t.Fatal(err)
	}
	h := openHome(t, l, profile.Options{Dir: dir, Now: time.Now})
	if _, err := h.DBCert("cache"); err == nil {
		t.Fatal("an expired certificate was taken")
	}
	if err := l.WriteHome(dir, l.Addr, HomeOptions{FreshKey: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.DBCert("cache"); err != nil {
		t.Error(err)
	}
}

func TestIdentityFile(t *testing.T) {
	l := start(t, Demo())
	for _, tt := range []struct {
		name string
		o    HomeOptions
		db   bool
	}{
		{"rsa", HomeOptions{Database: "cache"}, true},
		{"ecdsa", HomeOptions{Database: "cache", Algorithm: proxyserver.ECDSA}, true},
		{"ed25519", HomeOptions{Algorithm: proxyserver.Ed25519}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "identity")
			if err := l.WriteIdentityFile(path, tt.o); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
			h := openHome(t, l, profile.Options{IdentityFile: path, Proxy: l.Addr, Now: time.Now, Getenv: func(string) string { return "" }})
			if _, _, err := h.SSHSigner(); err != nil {
				t.Error(err)
			}
			if _, err := h.TLSCert(); err != nil {
				t.Error(err)
			}
			if _, err := h.HostCAs(); err != nil {
				t.Error(err)
			}
			if _, err := h.DBCert("cache"); (err == nil) != tt.db {
				t.Errorf("database certificate: %v", err)
			}
		})
	}
	if err := l.WriteIdentityFile(filepath.Join(t.TempDir(), "x"), HomeOptions{Database: "nothing"}); !errors.Is(err, proxyserver.ErrUnknownDatabase) {
		t.Errorf("error %v", err)
	}
}
