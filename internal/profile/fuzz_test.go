package profile

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzConfig: what cannot be read is one line that begins with a line number;
// what can is read again from what Marshal makes of it.
func FuzzConfig(f *testing.F) {
	f.Add(must(os.ReadFile(fixture + "/localhost.yaml")))
	for _, seed := range []string{
		"", testConfig, "user: [", "a: b: c", "\tx", "- a", "user: &a x\ncluster: *a\n", "tls_routing_enabled: maybe",
		"tls_routing_conn_upgrade_required: ~", "user: 1\nuser: 2", "? x\n: y\n", "user: !!binary aGk=", "\xff\xfe", "user: \"a\\nb\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err != nil {
			if text := err.Error(); !strings.HasPrefix(text, "line ") || strings.ContainsAny(text, "\n\r") {
				t.Errorf("error is %q", text)
			}
			return
		}
		written, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseConfig(written)
		if err != nil {
			t.Fatalf("%v in\n%s", err, written)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Errorf("written again (-first +second):\n%s", diff)
		}
	})
}

// FuzzIdentityFile: an identity file written from the parts of one that could
// be read has the same parts.
func FuzzIdentityFile(f *testing.F) {
	key := newKey()
	ca := newAuthority("root.example.com")
	parts := [][]byte{pkcs8(key), ca.ssh(key.Public()), ca.tls(key.Public(), nil), []byte(testHosts), ca.pem()}
	whole := bytes.Join(parts, nil)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(bytes.ReplaceAll(whole, []byte("\n"), []byte("\r\n ")))
	for _, part := range parts {
		f.Add(part)
	}
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"))
	f.Add([]byte("-----BEGIN X-----\nA: b\n\n-----END X-----\n@cert-authority\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBundle(data)
		if err != nil {
			return
		}
		again, err := parseBundle(joinBundle(b))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, again, cmp.AllowUnexported(bundle{}, file{})); diff != "" {
			t.Errorf("written again (-first +second):\n%s", diff)
		}
	})
}

func joinBundle(b *bundle) []byte {
	var out bytes.Buffer
	for _, block := range append([]*pem.Block{b.key, b.tlsCert}, b.cas...) {
		if block != nil {
			out.Write(pem.EncodeToMemory(block))
		}
	}
	out.Write(append(b.sshCert, '\n'))
	out.Write(b.hostKeys)
	return out.Bytes()
}

// FuzzKey: whatever is taken for a key has a public half that it matches.
func FuzzKey(f *testing.F) {
	for _, key := range testKeys {
		for _, marshal := range encodings {
			if encoded := marshal(key()); encoded != nil {
				f.Add(encoded)
			}
		}
	}
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := parseKey(data)
		if err == nil && !samePublic(key, key.Public()) {
			t.Errorf("%T does not match its own public half", key)
		}
	})
}

// FuzzCheckName: an accepted name stays in its directory, with any suffix.
func FuzzCheckName(f *testing.F) {
	for _, seed := range []string{"orders", "a@b.com", "..", ".", "", "a/b", `a\b`, "..x", "/", "a\x00", "NUL", "a:b", "…"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName("test", name) != nil {
			return
		}
		for _, suffix := range []string{"", extCert, "-db"} {
			if dir, file := filepath.Split(filepath.Join("base", name+suffix)); filepath.Clean(dir) != "base" || file != name+suffix {
				t.Errorf("%q leads to %q in %q", name, file, dir)
			}
		}
	})
}
