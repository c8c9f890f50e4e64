package profile

import (
	"bytes"
	"crypto"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"
)

// SSHSigner is the SSH certificate that the proxy wants, which is the root
// cluster's, and the signer that presents it. Its error is a *CertError, also
// when the certificate is not valid now.
func (p *Profile) SSHSigner() (*ssh.Certificate, ssh.Signer, error) {
	type result struct {
		cert   *ssh.Certificate
		signer ssh.Signer
	}
	r, err := retry(p, func() (result, error) {
		cert, signer, err := p.sshSigner()
		return result{cert, signer}, err
	})
	return r.cert, r.signer, err
}

func (p *Profile) sshSigner() (*ssh.Certificate, ssh.Signer, error) {
	if p.IdentityFile != "" {
		return p.bundleSigner()
	}
	fail := p.failure(KindSSH, "", "")
	root, err := p.rootCluster()
	if err != nil {
		return nil, nil, err
	}
	path := p.sshCertPath(root)
	if path == "" {
		return nil, nil, fail.missing(p.Paths().SSHCert(root))
	}
	return p.dirSigner(fail, path)
}

func (p *Profile) dirSigner(fail certFailure, path string) (*ssh.Certificate, ssh.Signer, error) {
	certFile, err := readFile(path)
	if err != nil {
		return nil, nil, fail.at(certFile, err)
	}
	cert, err := fail.sshCert(certFile)
	if err != nil {
		return nil, nil, err
	}
	keyFile, err := readFile(p.Paths().SSHKey())
	if err != nil {
		return nil, nil, fail.at(keyFile, keyError(err))
	}
	key, err := parseKey(keyFile.data)
	if err != nil {
		return nil, nil, fail.at(keyFile, err)
	}
	return fail.signer(cert, key, certFile, keyFile)
}

// sshCertPath is the certificate to log in to the proxy with, or empty when
// there is none.
func (p *Profile) sshCertPath(root string) string {
	for _, cluster := range []string{root, p.Cluster, p.ownCluster} {
		if CheckName("cluster", cluster) != nil {
			continue
		}
		path := p.Paths().SSHCert(cluster)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return path
		}
	}
	return ""
}

// bundleSigner finds the certificate in the identity file or, as ssh itself
// would, beside it.
func (p *Profile) bundleSigner() (*ssh.Certificate, ssh.Signer, error) {
	b, err := p.bundle()
	if err != nil {
		return nil, nil, err
	}
	fail := p.bundleFailure(what(KindSSH, ""))
	certFile := b.file
	certFile.data = b.sshCert
	if b.sshCert == nil {
		certFile, err = readFile(p.IdentityFile + suffixSSH)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fail.new(Missing, b.file)
		}
		if err != nil {
			return nil, nil, fail.at(certFile, err)
		}
	}
	cert, err := fail.sshCert(certFile)
	if err != nil {
		return nil, nil, err
	}
	key, err := parseKeyBlock(b.key)
	if err != nil {
		return nil, nil, fail.at(b.file, err)
	}
	return fail.signer(cert, key, certFile, b.file)
}

// sshCert parses an SSH certificate and checks that its time is now.
func (c certFailure) sshCert(f file) (*ssh.Certificate, error) {
	cert, err := parseSSHCert(f.data)
	if err != nil {
		return nil, c.at(f, err)
	}
	from, to := sshValidity(cert)
	return cert, c.validity(f, from, to)
}

// signer puts certificate and key together.
func (c certFailure) signer(cert *ssh.Certificate, key crypto.Signer, certFile, keyFile file) (*ssh.Certificate, ssh.Signer, error) {
	plain, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return nil, nil, c.at(keyFile, err)
	}
	if !bytes.Equal(plain.PublicKey().Marshal(), cert.Key.Marshal()) {
		return nil, nil, c.mismatch(certFile, keyFile)
	}
	signer, err := ssh.NewCertSigner(cert, plain)
	if err != nil {
		return nil, nil, c.at(certFile, err)
	}
	return cert, signer, nil
}

// parseSSHCert reads an authorized_keys line with a user certificate.
func parseSSHCert(line []byte) (*ssh.Certificate, error) {
	key, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil, err
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("a plain SSH key, not a certificate")
	}
	if cert.CertType != ssh.UserCert {
		return nil, errors.New("an SSH certificate, but not of a user")
	}
	return cert, nil
}

// sshValidity are the bounds of a certificate's validity; zero is none.
func sshValidity(c *ssh.Certificate) (from, to time.Time) {
	if c.ValidAfter <= math.MaxInt64 {
		from = time.Unix(int64(c.ValidAfter), 0)
	}
	if c.ValidBefore <= math.MaxInt64 { // ssh.CertTimeInfinity is above
		to = time.Unix(int64(c.ValidBefore), 0)
	}
	return from, to
}

// SSHFiles are the paths to write into an OpenSSH configuration. With an
// identity file cert is empty unless there is one beside it, and knownHosts is
// empty.
func (p *Profile) SSHFiles() (key, cert, knownHosts string) {
	if p.IdentityFile != "" {
		if _, err := os.Stat(p.IdentityFile + suffixSSH); err == nil {
			cert = p.IdentityFile + suffixSSH
		}
		return p.virtual(p.IdentityFile, "KEY"), cert, ""
	}
	root, err := p.RootCluster()
	if err != nil {
		root = p.ownCluster
	}
	if cert = p.sshCertPath(root); cert == "" {
		cert = p.Paths().SSHCert(root)
	}
	return p.Paths().SSHKey(), cert, KnownHostsPath(p.Dir)
}

// HostKeyLines are the lines in the form of known_hosts that name the
// authorities of SSH hosts: that file's content, or the lines of the identity
// file.
func (p *Profile) HostKeyLines() ([]byte, error) {
	if p.IdentityFile != "" {
		b, err := retry(p, p.bundle)
		if err != nil {
			return nil, err
		}
		if len(b.hostKeys) == 0 {
			return nil, p.bundleFailure("SSH host authority").new(Missing, b.file)
		}
		return slices.Clone(b.hostKeys), nil
	}
	fail := certFailure{p: p, what: "list of SSH host authorities", renew: p.loginCommand}
	f, err := readFile(KnownHostsPath(p.Dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail.missing(f.path)
	}
	if err != nil {
		return nil, fail.at(f, err)
	}
	return f.data, nil
}
