package profile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestVirtualPaths are the files handed to other programs.
func TestVirtualPaths(t *testing.T) {
	key := newKey()
	f := newIdentityFile(t, key, pkcs8(key))
	f.tls = f.ca.tls(key.Public(), withDB("my-db"))
	f.write()
	self := Files{CA: f.path, Cert: f.path, Key: f.path}
	tests := []struct {
		name string
		env  map[string]string
		want Files
	}{
		{"none", nil, self},
		{"bare kinds", map[string]string{
			"TSH_VIRTUAL_PATH_CA": "/ca", "TSH_VIRTUAL_PATH_DB": "/db", "TSH_VIRTUAL_PATH_KEY": "/key",
		}, Files{"/ca", "/db", "/key"}},
		{"most specific first", map[string]string{
			"TSH_VIRTUAL_PATH_CA": "/ca", "TSH_VIRTUAL_PATH_CA_HOST": "/ca/host",
			"TSH_VIRTUAL_PATH_DB": "/db", "TSH_VIRTUAL_PATH_DB_MY-DB": "/db/my",
			"TSH_VIRTUAL_PATH_KEY": "/key", "TSH_VIRTUAL_PATH_KEY_DB_MY-DB": "/key/my",
		}, Files{"/ca/host", "/db/my", "/key/my"}},
		{"another database", map[string]string{
			"TSH_VIRTUAL_PATH_DB_OTHER": "/db/other", "TSH_VIRTUAL_PATH_APP": "/app", "TSH_VIRTUAL_PATH_KEY_APP": "/key/app",
		}, self},
	}
	for _, tt := range tests {
		o := f.options()
		o.Getenv = func(name string) string { return tt.env[name] }
		got, err := mustLoad(t, o).DBFiles("my-db")
		check(t, err)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}

	p := f.load()
	got, err := p.TLSFiles()
	check(t, err)
	if diff := cmp.Diff(self, got); diff != "" {
		t.Errorf("TLSFiles (-want +got):\n%s", diff)
	}
	if _, err := p.AppFiles("hello"); err == nil || !strings.Contains(err.Error(), "the identity file has none") {
		t.Errorf("AppFiles: %v", err)
	}
	h := newHome(t)
	h.login(LayoutV17, key, pkcs8(key))
	o := Options{Dir: h.paths.Dir, Getenv: func(string) string { return "/no" }}
	if got, err := mustLoad(t, o).TLSFiles(); err != nil || got.Key == "/no" {
		t.Errorf("a home directory's paths come from the environment: %+v, %v", got, err)
	}
}
