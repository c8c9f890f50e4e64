package sshproxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// ErrNoAuthority says that known_hosts holds no certificate authority for the
// proxy: there was no login, or it was to another proxy.
var ErrNoAuthority = errors.New("no certificate authority is known for the proxy")

// HostKeyError says that the server's key does not prove that it is the proxy.
type HostKeyError struct {
	Host string
	Err  error
}

func (e *HostKeyError) Error() string {
	return fmt.Sprintf("host key of %s: %v", e.Host, e.Err)
}

func (e *HostKeyError) Unwrap() error { return e.Err }

// Authorities are the CAs of known_hosts that may sign the host certificate of
// one proxy.
type Authorities struct {
	host string
	keys []ssh.PublicKey
}

// ParseAuthorities reads the @cert-authority lines of known_hosts whose
// patterns match host. Patterns carry no port, so host is a bare name or
// address (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"). Lines that cannot be read
// are passed over, as OpenSSH does. It returns ErrNoAuthority if none is left.
//
// The lines of an identity file may name the cluster only; to take them,
// give the names of its clusters too (docs/protocol.md, "Host keys").
func ParseAuthorities(knownHosts []byte, host string, clusters ...string) (*Authorities, error) {
	a := &Authorities{host: host}
	names := append([]string{host}, clusters...)
	for line := range bytes.Lines(knownHosts) {
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("@cert-authority")) {
			continue
		}
		marker, patterns, key, _, _, err := ssh.ParseKnownHosts(line)
		if err != nil || marker != "cert-authority" {
			continue
		}
		if slices.ContainsFunc(names, func(n string) bool { return matchHost(patterns, n) }) {
			a.keys = append(a.keys, key)
		}
	}
	if len(a.keys) == 0 {
		return nil, ErrNoAuthority
	}
	return a, nil
}

// matchHost applies OpenSSH's pattern list: a negated match excludes.
func matchHost(patterns []string, host string) bool {
	matched := false
	for _, p := range patterns {
		p, negated := strings.CutPrefix(p, "!")
		if !matchPattern(p, host) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// matchPattern knows * and ? (ssh_config(5), "PATTERNS"). Brackets stand around
// a host with a port, which is never ours.
func matchPattern(pattern, host string) bool {
	if strings.ContainsAny(pattern, `[\`) {
		return false
	}
	ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(host))
	return ok && err == nil
}

// Callback returns the check of a server's host key: it must be a host
// certificate, signed by one of the authorities, valid now, and made out to
// the dialled host or to the proxy's name. Bare keys are refused.
func (a *Authorities) Callback() ssh.HostKeyCallback {
	return func(addr string, _ net.Addr, key ssh.PublicKey) error {
		if err := a.check(hostOf(addr), key); err != nil {
			return &HostKeyError{a.host, err}
		}
		return nil
	}
}

func (a *Authorities) check(dialled string, key ssh.PublicKey) error {
	cert, ok := key.(*ssh.Certificate)
	switch {
	case !ok:
		return errors.New("the server showed a bare key instead of a host certificate")
	case cert.CertType != ssh.HostCert:
		return errors.New("the server showed a certificate that is not one for hosts")
	case !a.signed(cert):
		return errors.New("the host certificate is signed by an authority that is not known")
	case len(cert.ValidPrincipals) == 0: // x/crypto/ssh takes it for any host
		return errors.New("the host certificate names no host")
	}
	name := dialled
	for _, p := range cert.ValidPrincipals {
		if strings.EqualFold(p, dialled) || strings.EqualFold(p, a.host) {
			name = p
			break
		}
	}
	return new(ssh.CertChecker).CheckCert(name, cert)
}

func (a *Authorities) signed(cert *ssh.Certificate) bool {
	ca := cert.SignatureKey.Marshal()
	return slices.ContainsFunc(a.keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), ca) })
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}

// hostCertAlgorithms are the only host key algorithms asked for, so that a
// server that also has bare keys shows its certificate.
var hostCertAlgorithms = []string{
	ssh.CertAlgoED25519v01,
	ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}
