package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a authority) issue(t *testing.T, edit func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"proxy.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if edit != nil {
		edit(tpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

func TestPublic(t *testing.T) {
	ours, other := newAuthority(t, "ours"), newAuthority(t, "other")
	tests := []struct {
		name     string
		server   string
		cert     tls.Certificate
		extra    *x509.CertPool
		insecure bool
		ok       bool
	}{
		{"by the extra authority", "proxy.test", ours.issue(t, nil), ours.pool(), false, true},
		{"by address", "127.0.0.1", ours.issue(t, nil), ours.pool(), false, true},
		{"by another authority", "proxy.test", ours.issue(t, nil), other.pool(), false, false},
		{"by none but the system's", "proxy.test", ours.issue(t, nil), nil, false, false},
		{"other name", "else.test", ours.issue(t, nil), ours.pool(), false, false},
		{"other address", "127.0.0.2", ours.issue(t, nil), ours.pool(), false, false},
		{"expired", "proxy.test", ours.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), ours.pool(), false, false},
		{"for clients only", "proxy.test", ours.issue(t, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), ours.pool(), false, false},
		{"insecure", "else.test", ours.issue(t, nil), other.pool(), true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := &tls.Config{ServerName: tt.server}
			Public(cfg, tt.extra, tt.insecure)
			err := handshake(t, cfg, tt.cert)
			var untrusted *tls.CertificateVerificationError
			if (err == nil) != tt.ok || (err != nil && !errors.As(err, &untrusted)) {
				t.Errorf("handshake: %v", err)
			}
		})
	}
}

func handshake(t *testing.T, cfg *tls.Config, cert tls.Certificate) error {
	t.Helper()
	// Not a net.Pipe: it has no buffer, so that an alert would wait for a server
	// that is itself still writing.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).HandshakeContext(t.Context())
		io.Copy(io.Discard, c)
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return tls.Client(c, cfg).HandshakeContext(t.Context())
}
