package localca

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"
)

// A certificate is good for as long as a run may last, on clocks that are a little
// behind too, and for a server only.
func TestValidity(t *testing.T) {
	ca := authority(t)
	l, err := ca.Leaves(LeavesOptions{Default: []string{"127.0.0.1"}, Allow: func(string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	host := strings.Repeat("a", 60) + ".example.com"
	cert, err := l.Get(&tls.ClientHelloInfo{ServerName: host})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		when  time.Duration // from now
		usage x509.ExtKeyUsage
		ok    bool
	}{
		{"now", 0, x509.ExtKeyUsageServerAuth, true},
		{"on a clock that is behind", -30 * time.Minute, x509.ExtKeyUsageServerAuth, true},
		{"in a year", 365 * 24 * time.Hour, x509.ExtKeyUsageServerAuth, true},
		{"as a client", 0, x509.ExtKeyUsageClientAuth, false},
	} {
		_, err := cert.Leaf.Verify(x509.VerifyOptions{
			DNSName: host, Roots: ca.Pool(), CurrentTime: time.Now().Add(tt.when), KeyUsages: []x509.ExtKeyUsage{tt.usage},
		})
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if n := len(cert.Leaf.Subject.CommonName); n > 64 { // RFC 5280, upper bounds
		t.Errorf("a common name of %d characters", n)
	}
}

// What nobody uses any more is not spoken.
func TestOldTLS(t *testing.T) {
	ca := authority(t)
	l, err := ca.Leaves(LeavesOptions{Default: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		a, b := net.Pipe()
		go func() { tls.Server(b, ServerTLS(l.Get)).Handshake(); b.Close() }()
		err := tls.Client(a, &tls.Config{ServerName: "127.0.0.1", RootCAs: ca.Pool(), MinVersion: version, MaxVersion: version}).Handshake()
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		a.Close()
	}
}
