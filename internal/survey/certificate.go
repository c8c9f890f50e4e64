package survey

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"tshx/internal/plain"
	"tshx/internal/trust"
)

// Certificate is a server's.
type Certificate struct {
	Names    []string // DNS names and addresses
	Issuer   string
	NotAfter time.Time
	SHA256   string // of the certificate, in lower-case hex
	// Verified says that who is to vouch for it does. Else Problem says why not, and
	// is nil where there is nobody to ask: for a host certificate, without a login.
	Verified bool
	Problem  error
}

// newCertificate describes the certificate that a server has shown.
func newCertificate(cs tls.ConnectionState) *Certificate {
	leaf := cs.PeerCertificates[0]
	c := &Certificate{Issuer: nameOf(leaf.Issuer), NotAfter: leaf.NotAfter}
	for _, n := range leaf.DNSNames {
		c.Names = append(c.Names, plain.Line(n, maxName))
	}
	for _, ip := range leaf.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	sum := sha256.Sum256(leaf.Raw)
	c.SHA256 = hex.EncodeToString(sum[:])
	return c
}

// maxName is the most that is shown of one name, in characters.
const maxName = 80

func nameOf(n pkix.Name) string {
	if n.CommonName != "" {
		return plain.Line(n.CommonName, maxName)
	}
	return plain.Line(strings.Join(n.Organization, " "), maxName)
}

// String says it in a few words.
func (c *Certificate) String() string {
	const most = 3
	names := c.Names
	if len(names) > most {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("%d more", len(c.Names)-most))
	}
	s := "certificate by " + c.Issuer
	if len(names) > 0 {
		s = "certificate for " + strings.Join(names, ", ") + " by " + c.Issuer
	}
	return s + ", until " + c.NotAfter.UTC().Format(time.DateOnly)
}

// fingerprint is the beginning of the hash, enough for people to compare.
func (c *Certificate) fingerprint() string { return "SHA-256 " + c.SHA256[:16] + "..." }

// clientTLS returns a configuration that takes any certificate, and passes what
// the usual check by roots, or by them and the system's, says about it to checked.
func (s *surveyor) clientTLS(hostCert bool, checked func(*Certificate), protocols ...string) *tls.Config {
	check := &tls.Config{ServerName: s.host}
	roots := s.Target.Roots
	if roots == nil {
		roots = x509.NewCertPool() // so that the check is one of ours, which can be put off
	}
	trust.Public(check, roots, false)
	return &tls.Config{
		ServerName: s.host, NextProtos: protocols, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, DynamicRecordSizingDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			c := newCertificate(cs)
			switch {
			case !hostCert:
				c.Problem = check.VerifyConnection(cs)
				c.Verified = c.Problem == nil
			case s.HostCAs != nil:
				c.Problem = verifyHost(cs, s.host, s.HostCAs)
				c.Verified = c.Problem == nil
			}
			checked(c)
			return nil
		},
	}
}

func verifyHost(cs tls.ConnectionState, name string, roots *x509.CertPool) error {
	o := x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := cs.PeerCertificates[0].Verify(o); err != nil {
		return &HostError{Err: err}
	}
	return nil
}

// HostError says that the CAs of the login do not vouch for the host certificate.
type HostError struct {
	Err error
}

func (e *HostError) Error() string { return "host certificate: " + e.Err.Error() }
func (e *HostError) Unwrap() error { return e.Err }

// Hint says what that means.
func (e *HostError) Hint() string {
	return "this is not the cluster that you are logged in to, or its CAs were rotated; log in again with tsh login"
}
