package profile

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"

	"tshx/internal/identity"
)

// loadIdentityFile makes a profile of an identity file.
func loadIdentityFile(o Options) (*Profile, error) {
	proxy := o.Proxy
	if proxy == "" {
		proxy = o.Name
	}
	if proxy == "" {
		return nil, ErrProxyRequired
	}
	host, _ := splitAddr(proxy)
	if err := CheckName("proxy", host); err != nil {
		return nil, err
	}
	addr := withPort(proxy, "443")
	p := &Profile{
		Name: host, WebAddr: addr, SSHAddr: addr, KubeAddr: addr, TLSRouting: true,
		IdentityFile: o.IdentityFile, getenv: o.Getenv, now: o.Now,
	}
	b, err := retry(p, p.firstBundle)
	if err != nil {
		return nil, err
	}
	p.ModTime = b.mod
	if err := p.describe(b); err != nil {
		return nil, err
	}
	p.ownCluster = p.Cluster
	return p, nil
}

// firstBundle reads the identity file for the first time. A pipe is kept,
// because it cannot be read a second time.
func (p *Profile) firstBundle() (*bundle, error) {
	info, err := os.Stat(p.IdentityFile)
	if err != nil || info.Mode().IsRegular() || info.IsDir() {
		return p.bundle() // which says what is wrong
	}
	f, err := readPipe(p.IdentityFile)
	if err != nil {
		return nil, p.bundleFailure("").at(f, err)
	}
	p.pinned, err = p.parse(f)
	return p.pinned, err
}

// describe takes the user and the cluster from the identity file's
// certificate.
func (p *Profile) describe(b *bundle) error {
	if b.tlsCert == nil {
		return p.describeSSH(b)
	}
	leaf, err := b.leaf()
	if err != nil {
		return p.bundleFailure(what(KindTLS, "")).at(b.file, err)
	}
	id := identity.FromName(leaf.Subject)
	p.User = id.User
	for _, name := range []string{id.RouteToCluster, id.TeleportCluster, identity.ClusterOf(leaf), p.Name} {
		if name != "" {
			p.Cluster = name
			return nil
		}
	}
	return nil
}

// describeSSH does the same where there is only an SSH certificate.
func (p *Profile) describeSSH(b *bundle) error {
	p.Cluster = p.Name
	if b.sshCert == nil {
		return nil
	}
	c, err := parseSSHCert(b.sshCert)
	if err != nil {
		return p.bundleFailure(what(KindSSH, "")).at(b.file, err)
	}
	p.User = c.KeyId
	if name := c.Extensions["teleport-route-to-cluster"]; name != "" {
		p.Cluster = name
	}
	return nil
}

// bundle reads the identity file anew, if it can be.
func (p *Profile) bundle() (*bundle, error) {
	if p.pinned != nil {
		return p.pinned, nil
	}
	f, err := readFile(p.IdentityFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, p.bundleFailure("").missing(p.IdentityFile)
	}
	if err != nil {
		return nil, p.bundleFailure("").at(f, err)
	}
	return p.parse(f)
}

func (p *Profile) parse(f file) (*bundle, error) {
	b, err := parseBundle(f.data)
	if err != nil {
		return nil, p.bundleFailure("").at(f, err)
	}
	b.file = f
	return b, nil
}

// bundleFailure makes errors about a part of the identity file.
func (p *Profile) bundleFailure(part string) certFailure {
	name := "identity file"
	if part != "" {
		name = part + " in the identity file"
	}
	return certFailure{p: p, what: name, renew: p.loginCommand}
}

// bundleCert is the identity file's certificate, if it has the route asked
// for.
func (p *Profile) bundleCert(kind Kind, name string) (*tls.Certificate, error) {
	b, err := p.bundle()
	if err != nil {
		return nil, err
	}
	fail := p.bundleFailure(what(KindTLS, ""))
	if b.tlsCert == nil {
		return nil, fail.new(Missing, b.file)
	}
	if kind != KindTLS {
		if err := p.checkNames(kind, p.Cluster, name); err != nil {
			return nil, err
		}
		id, err := b.identity()
		if err != nil {
			return nil, fail.at(b.file, err)
		}
		if route(id, kind) != name {
			return nil, p.noRoute(b, id, kind, name)
		}
		fail = p.bundleFailure(what(kind, name))
	}
	certFile := b.file
	certFile.data = pem.EncodeToMemory(b.tlsCert)
	chain, err := fail.chain(certFile)
	if err != nil {
		return nil, err
	}
	key, err := parseKeyBlock(b.key)
	if err != nil {
		return nil, fail.at(b.file, err)
	}
	return fail.match(chain, key, certFile, b.file)
}

// noRoute says that the identity file is not for this resource. No command
// changes that: the one who makes the file has to.
func (p *Profile) noRoute(b *bundle, id identity.Identity, kind Kind, name string) error {
	e := p.failure(kind, p.Cluster, name).new(Missing, b.file)
	e.Renew, e.Err = "", errors.New("the identity file has none; have one made that does")
	if has := route(id, kind); has != "" {
		e.Names, e.Nearest = []string{has}, Nearest(name, []string{has})
	}
	return e
}

func (p *Profile) bundleNames(kind Kind) ([]string, error) {
	b, err := p.bundle()
	if err != nil || b.tlsCert == nil {
		return nil, err
	}
	id, err := b.identity()
	if err != nil {
		return nil, p.bundleFailure(what(KindTLS, "")).at(b.file, err)
	}
	if name := route(id, kind); name != "" {
		return []string{name}, nil
	}
	return nil, nil
}

// route is the resource of this kind that id opens, or empty.
func route(id identity.Identity, kind Kind) string {
	switch kind {
	case KindDB:
		return id.Database.Service
	case KindApp:
		return id.App.Name
	case KindKube:
		return id.KubeCluster
	}
	return ""
}
