package localca

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

func authority(t *testing.T) *Authority {
	t.Helper()
	ca, err := New("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// handshake connects by name to a server with these leaves. verify is the name
// that the client checks.
func handshake(t *testing.T, ca *Authority, get func(*tls.ClientHelloInfo) (*tls.Certificate, error), name, verify string) error {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca.PEM()) {
		t.Fatal("no PEM")
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() { tls.Server(b, ServerTLS(get)).Handshake(); b.Close() }()
	cfg := &tls.Config{ServerName: verify, RootCAs: roots}
	if name != verify { // as one that sends no name at all
		cfg = &tls.Config{ServerName: name, InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: verify, Roots: roots})
			return err
		}}
	}
	return tls.Client(a, cfg).Handshake()
}

func TestLeaves(t *testing.T) {
	ca := authority(t)
	l, err := ca.Leaves(LeavesOptions{
		Default: []string{"127.0.0.1", "::1", "localhost"},
		Allow:   func(host string) bool { return strings.HasSuffix(host, ".example.com") },
	})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + ".example.com"
	for _, tt := range []struct {
		name, verify string
		ok           bool
	}{
		{"a.example.com", "a.example.com", true},
		{"A.Example.com.", "a.example.com", true},
		{long, long, true},
		{"", "127.0.0.1", true},
		{"", "::1", true},
		{"localhost", "localhost", true},
		{"a.example.com", "b.example.com", false},
		{"example.org", "example.org", false},
		{"xexample.com", "xexample.com", false},
	} {
		if err := handshake(t, ca, l.Get, tt.name, tt.verify); (err == nil) != tt.ok {
			t.Errorf("%q, checked as %q: %v", tt.name, tt.verify, err)
		}
	}
	if err := handshake(t, authority(t), l.Get, "a.example.com", "a.example.com"); err == nil {
		t.Error("another authority vouches for it")
	}
	if _, err := l.Get(&tls.ClientHelloInfo{ServerName: "example.org"}); !errors.Is(err, ErrHost) {
		t.Errorf("%v", err)
	}
}

// Certificates are made once, and not more than so many are kept.
func TestLeavesBounded(t *testing.T) {
	l, err := authority(t).Leaves(LeavesOptions{Default: []string{"127.0.0.1"}, Allow: func(string) bool { return true }, Most: 3})
	if err != nil {
		t.Fatal(err)
	}
	get := func(host string) *tls.Certificate {
		cert, err := l.Get(&tls.ClientHelloInfo{ServerName: host})
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	first := get("h0")
	if get("H0") != first {
		t.Error("made again")
	}
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() { l.Get(&tls.ClientHelloInfo{ServerName: fmt.Sprint("h", i+1)}) })
	}
	wg.Wait()
	if len(l.made) != 3 || len(l.age) != 3 {
		t.Errorf("%d are kept", len(l.made))
	}
	if get("h0") == first {
		t.Error("the oldest is kept")
	}
}

func TestClient(t *testing.T) {
	ca := authority(t)
	certPEM, keyPEM, err := ca.Client("me")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	for usage, ok := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: true, x509.ExtKeyUsageServerAuth: false} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{usage}})
		if (err == nil) != ok {
			t.Errorf("usage %v: %v", usage, err)
		}
	}
}
