package profile

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"tshx/internal/identity"
)

// RootCluster is the cluster that issued the login and that the proxy belongs
// to; p.Cluster may be a leaf of it. Without a certificate to tell, it is the
// cluster the profile names.
func (p *Profile) RootCluster() (string, error) {
	return retry(p, p.rootCluster)
}

func (p *Profile) rootCluster() (string, error) {
	chain, err := p.loginChain()
	if errors.Is(err, fs.ErrNotExist) {
		return p.ownCluster, nil
	}
	if err != nil {
		return "", err
	}
	if name := identity.ClusterOf(chain[0]); name != "" {
		return name, nil
	}
	return p.ownCluster, nil
}

// loginChain is the login's certificate without its key. Its validity is not
// looked at: the issuer is the same afterwards.
func (p *Profile) loginChain() ([]*x509.Certificate, error) {
	if p.IdentityFile != "" {
		b, err := p.bundle()
		if err != nil {
			return nil, err
		}
		if b.tlsCert == nil {
			return nil, fs.ErrNotExist
		}
		leaf, err := b.leaf()
		if err != nil {
			return nil, p.bundleFailure(what(KindTLS, "")).at(b.file, err)
		}
		return []*x509.Certificate{leaf}, nil
	}
	pair, err := p.find(KindTLS, p.Cluster, "")
	if err != nil {
		return nil, err
	}
	f, chain, err := p.readChain(pair.Cert)
	if err != nil {
		return nil, p.failure(KindTLS, "", "").at(f, err)
	}
	return chain, nil
}

// HostCAs are the authorities that have signed the proxy's host certificate:
// those of the root cluster. They are read from disk at each call.
func (p *Profile) HostCAs() (*x509.CertPool, error) {
	certs, err := retry(p, p.hostCAs)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, nil
}

// HostCAsPEM is the same for the files of programs that do TLS by themselves.
func (p *Profile) HostCAsPEM() ([]byte, error) {
	certs, err := retry(p, p.hostCAs)
	var text []byte
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text, err
}

func (p *Profile) hostCAs() ([]*x509.Certificate, error) {
	if p.IdentityFile != "" {
		return p.bundleCAs()
	}
	path, cluster, err := p.caFile()
	if err != nil {
		return nil, err
	}
	fail := certFailure{p: p, what: caName(cluster), renew: p.loginCommand}
	f, certs, err := p.readChain(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fail.missing(path)
	case err != nil:
		return nil, fail.at(f, err)
	}
	return certs, nil
}

// caFile is where the root cluster's authorities are: in a file of their own
// or, from old versions, together with those of all clusters.
func (p *Profile) caFile() (path, cluster string, err error) {
	cluster, err = p.rootCluster()
	if err != nil {
		return "", "", err
	}
	if CheckName("cluster", cluster) == nil {
		own := p.Paths().ClusterCAs(cluster)
		if _, err := os.Stat(own); !errors.Is(err, fs.ErrNotExist) {
			return own, cluster, nil
		}
	}
	return p.Paths().AllCAs(), cluster, nil
}

func (p *Profile) bundleCAs() ([]*x509.Certificate, error) {
	b, err := p.bundle()
	if err != nil {
		return nil, err
	}
	fail := p.bundleFailure(caName(p.ownCluster))
	if len(b.cas) == 0 {
		return nil, fail.new(Missing, b.file)
	}
	var certs []*x509.Certificate
	for _, block := range b.cas {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fail.at(b.file, err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

func caName(cluster string) string {
	return fmt.Sprintf("host authority of cluster %q", cluster)
}
