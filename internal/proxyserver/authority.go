package proxyserver

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"

	"tshx/internal/identity"
	"tshx/internal/tlsroute"
)

// backdate is how far in the past certificates begin, for clocks that differ.
const backdate = time.Minute

// caLifetime is how long authorities and host certificates last.
const caLifetime = 365 * 24 * time.Hour

// Authority holds the certificate authorities of one cluster. They are
// separate: clients verify the proxy by the host authorities, the proxy
// verifies users by the user authorities, and the web authority stands in for
// a public one.
type Authority struct {
	Cluster   string
	Algorithm Algorithm // of the keys that the authority makes itself
	Host      *CA       // signs host certificates: inside upgrades, ssh, databases
	User      *CA       // signs user certificates
	Web       *CA       // signs the certificate that browsers see
	SSHHost   ssh.Signer
	SSHUser   ssh.Signer
}

// NewAuthority makes the authorities of a cluster with fresh keys.
func NewAuthority(cluster string, alg Algorithm) (*Authority, error) {
	keys, err := newKeys(alg, 5)
	if err != nil {
		return nil, err
	}
	a := &Authority{Cluster: cluster, Algorithm: alg}
	for i, p := range []**CA{&a.Host, &a.User, &a.Web} {
		name := pkix.Name{CommonName: cluster, Organization: []string{cluster}}
		if p == &a.Web {
			name = pkix.Name{CommonName: "web CA of " + cluster}
		}
		if *p, err = newCA(name, keys[i]); err != nil {
			return nil, err
		}
	}
	if a.SSHHost, err = ssh.NewSignerFromSigner(keys[3]); err != nil {
		return nil, err
	}
	a.SSHUser, err = ssh.NewSignerFromSigner(keys[4])
	return a, err
}

// CA is one X.509 authority.
type CA struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

func newCA(name pkix.Name, key crypto.Signer) (*CA, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	name.SerialNumber = serial.String() // tells apart authorities of the same name
	tpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               name,
		NotBefore:             time.Now().Add(-backdate),
		NotAfter:              time.Now().Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority of %s: %w", name.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	return &CA{Certificate: cert, key: key}, err
}

// PEM returns the authority's certificate.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate.Raw})
}

// Pool returns a pool with the authority's certificate alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Certificate)
	return p
}

// sign issues a leaf for pub. The template says what is particular to it.
func (ca *CA) sign(tpl *x509.Certificate, pub crypto.PublicKey) ([]byte, error) {
	tpl.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	tpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	tpl.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, tpl, ca.Certificate, pub, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %s: %w", tpl.Subject.CommonName, err)
	}
	return der, nil
}

// serverCertificate issues a certificate and key for a server's names, which
// may be IP addresses.
func (ca *CA) serverCertificate(alg Algorithm, subject pkix.Name, names []string) (tls.Certificate, error) {
	key, err := NewKey(alg)
	if err != nil {
		return tls.Certificate{}, err
	}
	tpl := &x509.Certificate{
		Subject:   subject,
		NotBefore: time.Now().Add(-backdate),
		NotAfter:  time.Now().Add(caLifetime),
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			tpl.IPAddresses = append(tpl.IPAddresses, ip)
		} else {
			tpl.DNSNames = append(tpl.DNSNames, name)
		}
	}
	der, err := ca.sign(tpl, key.Public())
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// loopback are names that every certificate of a test proxy holds.
var loopback = []string{"localhost", "127.0.0.1", "::1"}

// HostCertificate issues the proxy's host certificate for its public host
// names, beside the names that all host certificates hold.
func (a *Authority) HostCertificate(hosts ...string) (tls.Certificate, error) {
	names := append([]string{"*." + tlsroute.AuthDomain, tlsroute.AuthDomain}, loopback...)
	names = append(names, hosts...)
	for _, host := range append([]string{"localhost"}, hosts...) {
		names = append(names, tlsroute.KubeServerName(host))
	}
	subject := pkix.Name{CommonName: "proxy." + a.Cluster, Organization: []string{"Proxy"}}
	return a.Host.serverCertificate(a.Algorithm, subject, unique(names))
}

// WebCertificate issues the certificate of the proxy's web listener, or of a
// balancer in front of it, for the names of both the proxy and its apps. Names
// right below the proxy's are in it, too; that alone would not do, for browsers
// take no wildcard below a name as short as localhost.
func (a *Authority) WebCertificate(hosts ...string) (tls.Certificate, error) {
	names := slices.Clone(loopback)
	below := func(host string) bool {
		_, parent, _ := strings.Cut(host, ".")
		return slices.Contains(names, parent)
	}
	for _, host := range hosts {
		if !isHost(host) {
			continue // no browser could ask for it
		}
		if net.ParseIP(host) == nil && !below(host) {
			names = append(names, "*."+host)
		}
		names = append(names, host)
	}
	return a.Web.serverCertificate(a.Algorithm, pkix.Name{CommonName: names[len(names)-1]}, unique(names))
}

// isHost reports whether a name can be that of a host.
func isHost(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.:", r)
	})
}

// UserRequest asks for a user's certificate.
type UserRequest struct {
	Public    crypto.PublicKey
	Identity  identity.Identity
	NotBefore time.Time // zero: a minute ago
	NotAfter  time.Time
}

func (r UserRequest) notBefore() time.Time {
	if r.NotBefore.IsZero() {
		return earlier(time.Now(), r.NotAfter).Add(-backdate)
	}
	return r.NotBefore
}

// earlier returns the first of two times: a certificate issued as expired must still
// begin before it ends.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// IssueTLS issues the X.509 certificate (DER) of a user.
func (a *Authority) IssueTLS(r UserRequest) ([]byte, error) {
	return a.User.sign(&x509.Certificate{
		Subject:   r.Identity.Name(),
		NotBefore: r.notBefore(),
		NotAfter:  r.NotAfter,
	}, r.Public)
}

// unique drops empty and repeated names and keeps the order.
func unique(names []string) []string {
	var out []string
	for _, n := range names {
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
