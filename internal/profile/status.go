package profile

import (
	"errors"
	"time"

	"tshx/internal/identity"
)

// CertStatus is one certificate of a login and the state it is in.
type CertStatus struct {
	Kind    Kind
	Name    string // of the resource; empty for tls and ssh
	Cluster string // the cluster it is used in
	Path    string

	NotBefore time.Time // both zero when unknown,
	NotAfter  time.Time // NotAfter also when it has no end

	Problem Problem // zero when the certificate can be used
	Err     error   // the *CertError of Problem, nil without one

	// Identity is what the certificate says, as far as it could be read; for
	// ssh only User and Logins are set.
	Identity identity.Identity
}

// Certificates lists all certificates of the login in all clusters: tls, ssh,
// then databases, apps and Kubernetes clusters by name. One that cannot be
// used is listed with its Problem. The error is that of an identity file or
// directory that cannot be read at all.
func (p *Profile) Certificates() ([]CertStatus, error) {
	if p.IdentityFile != "" {
		return p.bundleCertificates()
	}
	list := []CertStatus{p.status(KindTLS, p.ownCluster, "")}
	sshList, err := p.sshStatuses()
	list = append(list, sshList...)
	for _, kind := range []Kind{KindDB, KindApp, KindKube} {
		for _, cluster := range p.clusters(kind) {
			names, listErr := certNames(kind, p.Paths().ClusterDir(kind, cluster))
			err = errors.Join(err, listErr)
			for _, name := range names {
				list = append(list, p.status(kind, cluster, name))
			}
		}
	}
	return list, err
}

// status judges one certificate of a home directory.
func (p *Profile) status(kind Kind, cluster, name string) CertStatus {
	s := CertStatus{Kind: kind, Name: name, Cluster: cluster}
	if pair, err := p.find(kind, cluster, name); err == nil {
		s.Path = pair.Cert
		if f, err := readFile(pair.Cert); err == nil {
			s.readLeaf(f)
		}
	}
	_, err := p.dirCert(kind, cluster, name)
	s.judge(err)
	return s
}

// readLeaf fills in what a certificate says, even one that cannot be used.
func (s *CertStatus) readLeaf(f file) {
	if chain, err := parseChain(f.data); err == nil {
		s.Identity = identity.FromName(chain[0].Subject)
		s.NotBefore, s.NotAfter = chain[0].NotBefore, chain[0].NotAfter
	}
}

func (s *CertStatus) readSSH(data []byte) {
	if cert, err := parseSSHCert(data); err == nil {
		s.Identity = identity.Identity{User: cert.KeyId, Logins: cert.ValidPrincipals}
		s.NotBefore, s.NotAfter = sshValidity(cert)
	}
}

func (s *CertStatus) judge(err error) {
	if err == nil {
		return
	}
	s.Err, s.Problem = err, Broken
	var ce *CertError
	if errors.As(err, &ce) {
		s.Problem = ce.Problem
		if s.Path == "" {
			s.Path = ce.Path
		}
	}
}

// sshStatuses lists the SSH certificates, or the lack of one.
func (p *Profile) sshStatuses() ([]CertStatus, error) {
	clusters, err := certNames(KindSSH, p.Paths().KindDir(KindSSH))
	if len(clusters) == 0 {
		s := CertStatus{Kind: KindSSH, Cluster: p.ownCluster}
		_, _, signErr := p.SSHSigner()
		s.judge(signErr)
		return []CertStatus{s}, err
	}
	var list []CertStatus
	for _, cluster := range clusters {
		s := CertStatus{Kind: KindSSH, Cluster: cluster, Path: p.Paths().SSHCert(cluster)}
		if f, err := readFile(s.Path); err == nil {
			s.readSSH(f.data)
		}
		fail := p.failure(KindSSH, "", "")
		_, _, err := p.dirSigner(fail, s.Path)
		s.judge(err)
		list = append(list, s)
	}
	return list, err
}

// bundleCertificates lists what an identity file holds: the login, the route
// it may have, and the SSH certificate.
func (p *Profile) bundleCertificates() ([]CertStatus, error) {
	b, err := retry(p, p.bundle)
	if err != nil {
		return nil, err
	}
	s := CertStatus{Kind: KindTLS, Cluster: p.ownCluster, Path: p.IdentityFile}
	if b.tlsCert != nil {
		if leaf, err := b.leaf(); err == nil {
			s.Identity = identity.FromName(leaf.Subject)
			s.NotBefore, s.NotAfter = leaf.NotBefore, leaf.NotAfter
		}
	}
	_, err = p.cert(KindTLS, p.ownCluster, "")
	s.judge(err)
	list := []CertStatus{s}

	shell := CertStatus{Kind: KindSSH, Cluster: p.ownCluster, Path: p.IdentityFile}
	cert, _, err := p.SSHSigner()
	if err == nil {
		shell.Identity = identity.Identity{User: cert.KeyId, Logins: cert.ValidPrincipals}
		shell.NotBefore, shell.NotAfter = sshValidity(cert)
	} else if b.sshCert != nil {
		shell.readSSH(b.sshCert)
	}
	shell.judge(err)
	list = append(list, shell)

	for _, kind := range []Kind{KindDB, KindApp, KindKube} {
		if name := route(s.Identity, kind); name != "" {
			routed := s
			routed.Kind, routed.Name = kind, name
			list = append(list, routed)
		}
	}
	return list, nil
}
