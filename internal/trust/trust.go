// Package trust decides which certificate authorities may vouch for a public
// server certificate: those of the user's choice, and the system's.
//
//	cfg := &tls.Config{ServerName: host}
//	trust.Public(cfg, extra, false)
//
// The system's are loaded only if they are needed, because that takes longer
// than all the rest of a connection's start.
package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// Public makes cfg verify the server's certificate for cfg.ServerName by the
// authorities in extra or by the system's. extra may be nil. insecure skips the
// verification. An untrusted certificate is a *tls.CertificateVerificationError
// of the handshake, as without this package.
func Public(cfg *tls.Config, extra *x509.CertPool, insecure bool) {
	switch {
	case insecure:
		cfg.InsecureSkipVerify = true
	case extra != nil:
		// One list of roots cannot be two pools. So the check is ours, and
		// crypto/tls leaves its own out.
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = func(cs tls.ConnectionState) error { return verify(cs, cfg.ServerName, extra) }
	}
}

// verify checks what crypto/tls would: the chain, the times, the name and the
// use as a server.
func verify(cs tls.ConnectionState, name string, extra *x509.CertPool) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	o := x509.VerifyOptions{DNSName: name, Intermediates: x509.NewCertPool(), Roots: extra}
	for _, c := range cs.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	leaf := cs.PeerCertificates[0]
	_, err := leaf.Verify(o)
	if err == nil {
		return nil
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		o.Roots = nil // the system's
		if _, err = leaf.Verify(o); err == nil {
			return nil
		}
	}
	return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
}
