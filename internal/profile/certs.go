package profile

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// TLSCert is the certificate of the login itself, with its key and Leaf set.
// Like the methods below it reads the files anew at each call, and its error
// is a *CertError, also for a certificate that is not valid now, or, for a name
// that cannot be one, ErrBadName.
func (p *Profile) TLSCert() (*tls.Certificate, error) { return p.cert(KindTLS, p.Cluster, "") }

// DBCert is the certificate that opens the database of this name in
// p.Cluster; identity.FromCertificate of its Leaf tells the protocol, user and
// database it was made for.
func (p *Profile) DBCert(name string) (*tls.Certificate, error) {
	return p.cert(KindDB, p.Cluster, name)
}

// AppCert is the certificate that opens the app of this name in p.Cluster.
func (p *Profile) AppCert(name string) (*tls.Certificate, error) {
	return p.cert(KindApp, p.Cluster, name)
}

// KubeCert is the certificate that opens the Kubernetes cluster of this name
// in p.Cluster.
func (p *Profile) KubeCert(name string) (*tls.Certificate, error) {
	return p.cert(KindKube, p.Cluster, name)
}

// cert reads one certificate and its key, and once more if a login was just
// writing them.
func (p *Profile) cert(kind Kind, cluster, name string) (*tls.Certificate, error) {
	return retry(p, func() (*tls.Certificate, error) {
		if p.IdentityFile != "" {
			return p.bundleCert(kind, name)
		}
		return p.dirCert(kind, cluster, name)
	})
}

func (p *Profile) dirCert(kind Kind, cluster, name string) (*tls.Certificate, error) {
	pair, err := p.find(kind, cluster, name)
	if err != nil {
		return nil, err
	}
	fail := p.failure(kind, cluster, name)
	certFile, chain, err := p.readChain(pair.Cert)
	if err != nil {
		return nil, fail.at(certFile, err)
	}
	if err := fail.validity(certFile, chain[0].NotBefore, chain[0].NotAfter); err != nil {
		return nil, err
	}
	if pair.Key == p.Paths().SSHKey() {
		fail.renew = p.loginCommand // the key is the login's own
	}
	keyFile, key, err := p.readKey(pair.Key)
	if err != nil {
		return nil, fail.at(keyFile, err)
	}
	return p.failure(kind, cluster, name).match(chain, key, certFile, keyFile)
}

// readChain returns the certificates in a file. The file is set in any case.
func (p *Profile) readChain(path string) (file, []*x509.Certificate, error) {
	if f, chain, ok := p.chains.get(path); ok {
		return f, chain, nil
	}
	f, err := readFile(path)
	if err != nil {
		return f, nil, err
	}
	chain, err := parseChain(f.data)
	if err == nil {
		p.chains.put(f, chain)
	}
	return f, chain, err
}

// readKey returns the private key in a file. The file is set in any case.
func (p *Profile) readKey(path string) (file, crypto.Signer, error) {
	if f, key, ok := p.keys.get(path); ok {
		return f, key, nil
	}
	f, err := readFile(path)
	if err != nil {
		return f, nil, keyError(err)
	}
	key, err := parseKey(f.data)
	if err == nil {
		p.keys.put(f, key)
	}
	return f, key, err
}

// find is where the certificate of this name is. When there is one in each
// layout the one written last counts.
func (p *Profile) find(kind Kind, cluster, name string) (Pair, error) {
	if err := p.checkNames(kind, cluster, name); err != nil {
		return Pair{}, err
	}
	paths := p.Paths()
	v17 := paths.Pair(LayoutV17, kind, cluster, name)
	v13 := paths.Pair(LayoutV13, kind, cluster, name)
	in17, err17 := os.Stat(v17.Cert)
	in13, err13 := os.Stat(v13.Cert)
	switch {
	case err17 == nil && (err13 != nil || !in13.ModTime().After(in17.ModTime())):
		return v17, nil
	case err13 == nil:
		return v13, nil
	case !errors.Is(err17, fs.ErrNotExist):
		return Pair{}, p.failure(kind, cluster, name).at(file{path: v17.Cert}, err17)
	}
	return Pair{}, p.missing(kind, cluster, name, v17.Cert)
}

func (p *Profile) checkNames(kind Kind, cluster, name string) error {
	if kind == KindTLS {
		return nil
	}
	if err := CheckName("cluster", cluster); err != nil {
		return err
	}
	return CheckName(string(kind)+" resource", name)
}

// missing tells what other certificates there are.
func (p *Profile) missing(kind Kind, cluster, name, path string) error {
	e := p.failure(kind, cluster, name).missing(path)
	if kind == KindTLS {
		return e
	}
	e.Names, _ = p.names(kind, cluster) // no names is no worse than an error here
	e.Nearest = Nearest(name, e.Names)
	for _, other := range p.clusters(kind) {
		for _, layout := range []Layout{LayoutV17, LayoutV13} {
			if _, err := os.Stat(p.Paths().Pair(layout, kind, other, name).Cert); err == nil {
				e.Clusters = append(e.Clusters, other)
				break
			}
		}
	}
	return e
}

func keyError(err error) error { return fmt.Errorf("private key: %w", cause(err)) }

// certFailure makes the errors for one certificate.
type certFailure struct {
	p     *Profile
	what  string
	renew func() string // asked only when there is an error
}

func (p *Profile) failure(kind Kind, cluster, name string) certFailure {
	return certFailure{p: p, what: what(kind, name), renew: func() string { return p.renewCommand(kind, cluster, name) }}
}

func (c certFailure) new(problem Problem, f file) *CertError {
	return &CertError{What: c.what, Path: f.path, Problem: problem, Now: c.p.now(), Renew: c.renew()}
}

// at is for a file that cannot be read or parsed.
func (c certFailure) at(f file, err error) *CertError {
	e := c.new(Broken, f)
	e.Err, e.fresh = cause(err), fresh(f)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		e.Renew = "" // a new certificate would not help
	}
	return e
}

// missing is for a file that does not exist.
func (c certFailure) missing(path string) *CertError {
	e := c.new(Missing, file{path: path})
	e.Err = fs.ErrNotExist
	return e
}

// chain parses a certificate and checks that its time is now.
func (c certFailure) chain(f file) ([]*x509.Certificate, error) {
	chain, err := parseChain(f.data)
	if err != nil {
		return nil, c.at(f, err)
	}
	return chain, c.validity(f, chain[0].NotBefore, chain[0].NotAfter)
}

// match puts certificate and key together.
func (c certFailure) match(chain []*x509.Certificate, key crypto.Signer, certFile, keyFile file) (*tls.Certificate, error) {
	if !samePublic(key, chain[0].PublicKey) {
		return nil, c.mismatch(certFile, keyFile)
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, x := range chain {
		cert.Certificate = append(cert.Certificate, x.Raw)
	}
	return cert, nil
}

func (c certFailure) mismatch(certFile, keyFile file) *CertError {
	e := c.new(Mismatch, keyFile)
	e.fresh = fresh(certFile, keyFile)
	return e
}

// validity is nil when now is within the bounds, both of which belong to it.
// A zero bound is none.
func (c certFailure) validity(f file, from, to time.Time) error {
	now := c.p.now()
	var e *CertError
	switch {
	case !to.IsZero() && now.After(to):
		e = c.new(Expired, f)
		e.When = to
	case now.Before(from):
		e = c.new(NotYet, f)
		e.When = from
	default:
		return nil
	}
	e.Now = now
	return e
}

// parseChain reads all certificates in data, and fails when there is none.
func parseChain(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("no certificate in PEM form")
	}
	return chain, nil
}
