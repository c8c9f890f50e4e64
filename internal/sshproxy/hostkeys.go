package sshproxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"path"
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
func ParseAuthorities(knownHosts []byte, host string) (*Authorities, error) {
	a := &Authorities{host: host}
	for line := range bytes.Lines(knownHosts) {
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("@cert-authority")) {
			continue
		}
		_, hosts, key, _, _, err := ssh.ParseKnownHosts(line)
		if err == nil && matchHost(hosts, host) {
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
		if ok, err := path.Match(strings.ToLower(p), strings.ToLower(host)); err != nil || !ok {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// Callback returns the check of a server's host key: it must be a host
// certificate, signed by one of the authorities, valid now, and made out to
// the dialled host or to the proxy's name. Bare keys are refused.
func (a *Authorities) Callback() ssh.HostKeyCallback {
	checker := &ssh.CertChecker{IsHostAuthority: func(key ssh.PublicKey, _ string) bool {
		for _, k := range a.keys {
			if bytes.Equal(k.Marshal(), key.Marshal()) {
				return true
			}
		}
		return false
	}}
	return func(addr string, _ net.Addr, key ssh.PublicKey) error {
		cert, ok := key.(*ssh.Certificate)
		if !ok {
			return &HostKeyError{a.host, errors.New("the server showed a bare key instead of a host certificate")}
		}
		err := checker.CheckHostKey(addr, nil, cert)
		if err != nil && !strings.EqualFold(hostOf(addr), a.host) {
			err = checker.CheckHostKey(net.JoinHostPort(a.host, "22"), nil, cert)
		}
		if err != nil {
			return &HostKeyError{a.host, err}
		}
		return nil
	}
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
