// Package localca makes the certificates by which programs of this machine trust
// a local proxy that ends their TLS.
//
//	ca, err := localca.New("tshx aws proxy", time.Now())
//	leaves := ca.Leaves(localca.LeavesOptions{Default: []string{"127.0.0.1"}, Allow: allow})
//	cfg := &tls.Config{GetCertificate: leaves.Get}
//	os.WriteFile(path, ca.PEM(), 0o600) // for the programs
//
// An authority is made for one run of a program, and its key never leaves the
// memory: who gives up the Authority makes sure that there are no more
// certificates of it.
package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"time"
)

// ValidDays is how long the certificates are valid: longer than a run lasts. They
// are worth nothing once it has ended.
const ValidDays = 10 * 365

// clockSkew is how long before now they are so already, for clocks that are set.
const clockSkew = time.Hour

// Authority vouches for the certificates of one run.
type Authority struct {
	now  time.Time
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority that is called name.
func New(name string, now time.Time) (*Authority, error) {
	t := template(now, name)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	cert, err := sign(t, t, key, key)
	if err != nil {
		return nil, err
	}
	return &Authority{now: now, cert: cert, key: key}, nil
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return block("CERTIFICATE", a.cert.Raw) }

// Pool holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Server makes a certificate for hosts: names, also with a wildcard, and addresses.
func (a *Authority) Server(name string, hosts []string) (*tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	return a.server(name, hosts, key)
}

func (a *Authority) server(name string, hosts []string, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	t := template(a.now, name)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	cert, err := sign(t, a.cert, key, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// Client makes the certificate of a client, as PEM. The key is a secret.
func (a *Authority) Client(name string) (certPEM, keyPEM []byte, err error) {
	t := template(a.now, name)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	cert, err := sign(t, a.cert, key, a.key)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return block("CERTIFICATE", cert.Raw), block("PRIVATE KEY", der), nil
}

// ServerTLS is the configuration of a server for clients of this machine that
// show the certificate which get returns.
func ServerTLS(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: get,
		// Nobody records loopback for the days of quantum computers, and each short
		// command does a full handshake.
		CurvePreferences:            []tls.CurveID{tls.X25519, tls.CurveP256},
		DynamicRecordSizingDisabled: true,
	}
}

func template(now time.Time, name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-clockSkew), NotAfter: now.AddDate(0, 0, ValidDays),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// sign makes the certificate of key.
func sign(t, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("local certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
