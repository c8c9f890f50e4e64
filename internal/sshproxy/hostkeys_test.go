package sshproxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// caLine is a line of known_hosts for the authority.
func caLine(patterns string, ca ssh.PublicKey) string {
	return fmt.Sprintf("@cert-authority %s %s type=host\n", patterns, bytes.TrimSpace(ssh.MarshalAuthorizedKey(ca)))
}

func TestParseAuthorities(t *testing.T) {
	a, b := newSigner(t).PublicKey(), newSigner(t).PublicKey()
	plain := strings.TrimPrefix(caLine("proxy.example.com", a), "@cert-authority ")
	for _, tt := range []struct {
		name, lines string
		host        string
		clusters    []string
		want        []ssh.PublicKey
	}{
		{"by name", caLine("proxy.example.com,c,*.c", a), "proxy.example.com", nil, []ssh.PublicKey{a}},
		{"other case", caLine("Proxy.Example.com", a), "proxy.EXAMPLE.com", nil, []ssh.PublicKey{a}},
		{"wildcard", caLine("*.example.com", a), "proxy.example.com", nil, []ssh.PublicKey{a}},
		{"wildcard spans dots", caLine("*.com", a), "proxy.example.com", nil, []ssh.PublicKey{a}},
		{"wildcard needs the dot", caLine("*.example.com", a), "example.com", nil, nil},
		{"one character", caLine("prox?.example.com", a), "proxy.example.com", nil, []ssh.PublicKey{a}},
		{"negated", caLine("*.example.com,!proxy.example.com", a), "proxy.example.com", nil, nil},
		{"negated first", caLine("!proxy.example.com,*", a), "proxy.example.com", nil, nil},
		{"negated for another", caLine("*.example.com,!other.example.com", a), "proxy.example.com", nil, []ssh.PublicKey{a}},
		{"only negated", caLine("!other.example.com", a), "proxy.example.com", nil, nil},
		{"several, as in a rotation", caLine("p", a) + caLine("p", b), "p", nil, []ssh.PublicKey{a, b}},
		{"another proxy's", caLine("q,c,*.c", b) + caLine("p,c,*.c", a), "p", nil, []ssh.PublicKey{a}},
		{"an address", caLine("2001:db8::1", a), "2001:db8::1", nil, []ssh.PublicKey{a}},
		{"with a port", caLine("[p]:3080", a), "p", nil, nil},
		{"brackets are no set", caLine("[pq]", a), "p", nil, nil},
		{"cluster alone", caLine("c,*.c", a) + caLine("d,*.d", b), "p", nil, nil},
		{"cluster asked for", caLine("c,*.c", a) + caLine("d,*.d", b), "p", []string{"c"}, []ssh.PublicKey{a}},
		{"windows line ends", strings.ReplaceAll("# x\n"+caLine("p", a), "\n", "\r\n"), "p", nil, []ssh.PublicKey{a}},
		{"no line end", strings.TrimSuffix(caLine("p", a), "\n"), "p", nil, []ssh.PublicKey{a}},
		{"indented", " \t" + caLine("p", a), "p", nil, []ssh.PublicKey{a}},
		{"garbage around", "garbage\n@cert-authority\n@cert-authority p\n@cert-authority p ecdsa-sha2-nistp256 AAAA\n" +
			"@cert-authority p ssh-rsa " + strings.Fields(plain)[2] + "\n\x00\xff\n" + caLine("p", a), "p", nil, []ssh.PublicKey{a}},
		{"a host key is no authority", strings.Replace(plain, "proxy.example.com", "p", 1), "p", nil, nil},
		{"revoked", "@revoked" + strings.TrimPrefix(caLine("p", a), "@cert-authority"), "p", nil, nil},
		{"unknown marker", "@cert-authority-x" + strings.TrimPrefix(caLine("p", a), "@cert-authority"), "p", nil, nil},
		{"hashed name", caLine("|1|c2FsdA==|aGFzaA==", a), "p", nil, nil},
		{"empty", "", "p", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseAuthorities([]byte(tt.lines), tt.host, tt.clusters...)
			if len(tt.want) == 0 {
				if !errors.Is(err, ErrNoAuthority) || got != nil {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if err != nil || len(got.keys) != len(tt.want) {
				t.Fatalf("got %v, %v; want %d keys", got, err, len(tt.want))
			}
			for i, k := range got.keys {
				if !bytes.Equal(k.Marshal(), tt.want[i].Marshal()) {
					t.Errorf("key %d is another", i)
				}
			}
		})
	}
}

// The file that a real v14 login wrote.
func TestParseAuthoritiesFixture(t *testing.T) {
	lines, err := os.ReadFile("../profile/testdata/teleport-14/tsh-home/known_hosts")
	if err != nil {
		t.Fatal(err)
	}
	for host, ok := range map[string]bool{
		"localhost": true, "real.example.com": true, "node1.real.example.com": true,
		"other.example.com": false, "localhost:3080": false, "[localhost]:3080": false,
	} {
		got, err := ParseAuthorities(lines, host)
		if ok != (err == nil) {
			t.Errorf("%s: %v", host, err)
		}
		if err == nil && (len(got.keys) != 1 || got.keys[0].Type() != ssh.KeyAlgoRSA) {
			t.Errorf("%s: %d keys", host, len(got.keys))
		}
	}
}

func TestCallback(t *testing.T) {
	ca, second, stranger := newSigner(t), newSigner(t), newSigner(t)
	hosts, err := ParseAuthorities([]byte(caLine("proxy.example.com", ca.PublicKey())+caLine("*", second.PublicKey())), "proxy.example.com")
	if err != nil {
		t.Fatal(err)
	}
	key := newSigner(t).PublicKey()
	const addr = "proxy.example.com:3080"
	now := time.Now()
	for _, tt := range []struct {
		name   string
		addr   string
		ca     ssh.Signer
		change func(*ssh.Certificate)
		bad    string // in the error; empty for none
	}{
		{"good", addr, ca, nil, ""},
		{"other authority of the file", addr, second, nil, ""},
		{"another port", "proxy.example.com:443", ca, nil, ""},
		{"no port", "proxy.example.com", ca, nil, ""},
		{"dialled by address, made out to the name", "192.0.2.1:3080", ca, nil, ""},
		{"dialled by address, made out to the address", "[2001:db8::1]:3080", ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"2001:db8::1"} }, ""},
		{"upper case address", "PROXY.example.com:3080", ca, nil, ""},
		{"upper case principal", addr, ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"x", "Proxy.Example.com"} }, ""},
		{"for ever", addr, ca, func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 0, ssh.CertTimeInfinity }, ""},
		{"authority of another cluster", addr, stranger, nil, "authority that is not known"},
		{"expired", addr, ca, func(c *ssh.Certificate) { c.ValidBefore = uint64(now.Add(-time.Second).Unix()) }, "expired"},
		{"not yet valid", addr, ca, func(c *ssh.Certificate) { c.ValidAfter = uint64(now.Add(time.Hour).Unix()) }, "not yet valid"},
		{"a user's certificate", addr, ca, func(c *ssh.Certificate) { c.CertType = ssh.UserCert }, "not one for hosts"},
		{"made out to another host", addr, ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"node1"} }, "principal"},
		{"made out with a port", addr, ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{addr} }, "principal"},
		{"made out to a domain below", addr, ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"proxy.example.com.evil.example"} }, "principal"},
		{"made out to nobody", addr, ca, func(c *ssh.Certificate) { c.ValidPrincipals = nil }, "names no host"},
		{"unknown critical option", addr, ca, func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"x": ""} }, "critical option"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := &ssh.Certificate{
				Key: key, CertType: ssh.HostCert, ValidPrincipals: []string{"id-1", "proxy.example.com"},
				ValidAfter: uint64(now.Add(-time.Hour).Unix()), ValidBefore: uint64(now.Add(time.Hour).Unix()),
			}
			if tt.change != nil {
				tt.change(cert)
			}
			if err := cert.SignCert(rand.Reader, tt.ca); err != nil {
				t.Fatal(err)
			}
			checkHostKeyError(t, hosts.Callback()(tt.addr, nil, cert), tt.bad)
		})
	}
	t.Run("bare key", func(t *testing.T) {
		checkHostKeyError(t, hosts.Callback()(addr, nil, key), "bare key")
	})
	t.Run("the authority's own key", func(t *testing.T) {
		checkHostKeyError(t, hosts.Callback()(addr, nil, ca.PublicKey()), "bare key")
	})
	t.Run("changed after signing", func(t *testing.T) {
		cert := &ssh.Certificate{Key: key, CertType: ssh.HostCert, ValidPrincipals: []string{"node1"}, ValidBefore: ssh.CertTimeInfinity}
		if err := cert.SignCert(rand.Reader, ca); err != nil {
			t.Fatal(err)
		}
		cert.ValidPrincipals = []string{"proxy.example.com"}
		checkHostKeyError(t, hosts.Callback()(addr, nil, cert), "signature")
	})
}

func checkHostKeyError(t *testing.T, err error, bad string) {
	t.Helper()
	if bad == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	var e *HostKeyError
	if !errors.As(err, &e) || e.Host != "proxy.example.com" || !strings.Contains(err.Error(), bad) {
		t.Errorf("error %v, want one about %q", err, bad)
	}
}

func FuzzParseAuthorities(f *testing.F) {
	ca := newSigner(f).PublicKey()
	f.Add([]byte(caLine("p,c,*.c", ca)), "p")
	f.Add([]byte(caLine("!p,*", ca)+"\r\n# x\n"+caLine("[p]:22", ca)), "c")
	f.Add([]byte("@cert-authority\n@cert-authority * ssh-rsa AAAA\n@revoked * ssh-rsa AAAA\n"), "*")
	f.Fuzz(func(t *testing.T, lines []byte, host string) {
		got, err := ParseAuthorities(lines, host)
		if err != nil {
			if got != nil || !errors.Is(err, ErrNoAuthority) {
				t.Fatalf("got %v, %v", got, err)
			}
			got = &Authorities{}
		} else if n := bytes.Count(lines, []byte("@cert-authority")); len(got.keys) == 0 || len(got.keys) > n {
			t.Fatalf("%d keys of %d lines", len(got.keys), n)
		}
		// What stands before a good line, whatever it is, cannot hide it or be
		// changed by it.
		if strings.ContainsAny(host, "[\\*?!, \t\r\n") || strings.TrimSpace(host) != host || host == "" {
			return
		}
		more, err := ParseAuthorities(append(append(bytes.Clone(lines), '\n'), caLine(host, ca)...), host)
		if err != nil || len(more.keys) != len(got.keys)+1 {
			t.Fatalf("with one more line for %q: %v, %v; had %d keys", host, more, err, len(got.keys))
		}
	})
}
