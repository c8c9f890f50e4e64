package profile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file is parsed once for as long as it stays the same, and anew after each
// change that a new login can make.
func TestCache(t *testing.T) {
	old := time.Now().Add(-time.Hour)
	write := func(t *testing.T, path, text string, at time.Time) {
		t.Helper()
		check(t, os.WriteFile(path, []byte(text), 0o600))
		check(t, os.Chtimes(path, at, at))
	}
	for name, tt := range map[string]struct {
		change func(t *testing.T, path string)
		kept   bool
	}{
		"nothing":      {func(*testing.T, string) {}, true},
		"written over": {func(t *testing.T, path string) { write(t, path, "two", old.Add(time.Second)) }, false},
		"written now":  {func(t *testing.T, path string) { write(t, path, "two", time.Now()) }, false},
		"longer":       {func(t *testing.T, path string) { write(t, path, "three", old) }, false},
		"another file of the same time and size": {func(t *testing.T, path string) {
			write(t, path+".new", "two", old)
			check(t, os.Rename(path+".new", path))
		}, false},
		"removed": {func(t *testing.T, path string) { check(t, os.Remove(path)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			write(t, path, "one", old)
			var c cache[string]
			if _, _, ok := c.get(path); ok {
				t.Fatal("an empty cache has something")
			}
			f, err := readFile(path)
			check(t, err)
			c.put(f, string(f.data))
			tt.change(t, path)
			f, value, ok := c.get(path)
			if ok != tt.kept || ok && (value != "one" || f.path != path || !f.mod.Equal(old)) {
				t.Errorf("get = %+v, %q, %v", f, value, ok)
			}
		})
	}
	t.Run("just written", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		write(t, path, "one", time.Now())
		f, err := readFile(path)
		check(t, err)
		var c cache[string]
		c.put(f, "one")
		if _, _, ok := c.get(path); ok {
			t.Error("what may change unseen is remembered")
		}
	})
}

// Callers get certificates of their own, and what is remembered is held to its
// dates all the same.
func TestCacheOfCertificates(t *testing.T) {
	h, key := newHome(t), newKey()
	h.login(LayoutV17, key, pkcs8(key))
	p := h.load()
	first, err := p.TLSCert()
	check(t, err)
	second, err := p.TLSCert()
	check(t, err)
	if first == second || first.Leaf != second.Leaf || first.PrivateKey != second.PrivateKey {
		t.Error("parsed twice, or shared")
	}
	p.now = at(noon.Add(2 * time.Hour))
	var ce *CertError
	if _, err := p.TLSCert(); !errors.As(err, &ce) || ce.Problem != Expired {
		t.Errorf("TLSCert = %v", err)
	}
}
