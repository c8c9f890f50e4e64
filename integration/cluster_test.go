//go:build linux

package integration

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"tshx/integration/peer"
	"tshx/internal/lab"
	"tshx/internal/proxyserver"
)

// cluster is a lab with real servers behind it.
type cluster struct {
	lab    *lab.Lab
	config lab.Config
	direct string // address of the proxy
	// named is the address of a second proxy of the cluster, whose certificates
	// are for squidName.
	named  string
	caFile string // CA of the web certificates
}

// The clusters of a run: the present release, and the one that knows no
// WebSocket upgrades and does not confirm ALPN for SSH. Their logins differ as
// well, in layout and kinds of keys.
var (
	modern = share(func() (*cluster, error) { return startCluster(lab.Config{Cluster: "new.tshx.test", Behave: "v17"}) })
	old    = share(func() (*cluster, error) { return startCluster(lab.Config{Cluster: "old.tshx.test", Behave: "v14"}) })
)

// startCluster starts a lab with all servers that are installed.
func startCluster(c lab.Config) (*cluster, error) {
	c.User, c.Logins = account.User, []string{osUser(), account.User}
	var err error
	if c.Databases, err = databases(); err != nil {
		return nil, err
	}
	for name, shared := range services {
		s, err := shared.load()
		if err != nil {
			return nil, err
		}
		c.Apps = append(c.Apps, lab.App{Name: name, URI: "tcp://" + s.addr})
	}
	quiet, err := silent.load()
	if err != nil {
		return nil, err
	}
	// sshd needs the lab's keys, and the lab needs the node's address.
	node, err := startSwitchboard("")
	if err != nil {
		return nil, err
	}
	c.Nodes = []lab.Node{{Name: "node1", Addr: node.addr}, {Name: "silent", Addr: quiet.addr}}
	l, err := lab.Start(context.Background(), c)
	if err != nil {
		return nil, err
	}
	atExit(func() { l.Close() })
	if s, err := startNode(l.Authority, "node1", "node1."+c.Cluster); err == nil {
		node.to(s.Addr)
	}
	cl := &cluster{lab: l, config: c, direct: loopback(l.Addr)}
	if err := cl.startNamed(); err != nil {
		return nil, err
	}
	return cl, cl.writeCA()
}

// startNamed runs a second proxy with the backends of the first.
func (c *cluster) startNamed() error {
	o := proxyserver.Options{Authority: c.lab.Authority, PublicAddr: net.JoinHostPort(squidName, "443")}
	for _, n := range c.config.Nodes {
		o.Nodes = append(o.Nodes, proxyserver.Node{Name: n.Name, Addr: n.Addr})
	}
	for _, d := range c.config.Databases {
		o.Databases = append(o.Databases, proxyserver.Database{Name: d.Name, Protocol: d.Protocol, Addr: d.Addr})
	}
	for _, a := range c.config.Apps {
		o.Apps = append(o.Apps, proxyserver.App{Name: a.Name, URI: a.URI})
	}
	s, err := proxyserver.New(o)
	if err != nil {
		return err
	}
	atExit(func() { s.Close() })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.named = ln.Addr().String()
	go s.Serve(context.Background(), ln)
	return nil
}

func (c *cluster) writeCA() error {
	dir, err := tempDir("ca")
	if err != nil {
		return err
	}
	c.caFile = filepath.Join(dir, "web.pem")
	return os.WriteFile(c.caFile, c.lab.Authority.Web.PEM(), 0o600)
}

// startNode runs sshd with keys that the authority has signed.
func startNode(a *proxyserver.Authority, names ...string) (*peer.Server, error) {
	key, err := proxyserver.NewKey(a.Algorithm)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, err
	}
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	cert := &ssh.Certificate{Key: pub, CertType: ssh.HostCert, KeyId: names[0], ValidPrincipals: names, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, a.SSHHost); err != nil {
		return nil, err
	}
	return kept(peer.StartSSHD(peer.SSHDOptions{
		HostKey:         pem.EncodeToMemory(block),
		HostCertificate: ssh.MarshalAuthorizedKey(cert),
		UserCA:          ssh.MarshalAuthorizedKey(a.SSHUser.PublicKey()),
	}))
}

// balancer returns a balancer in front of backend, with a web certificate of
// the cluster.
func (c *cluster) balancer(backend string) (peer.Balancer, error) {
	cert, err := c.lab.Authority.WebCertificate("localhost", squidName)
	if err != nil {
		return peer.Balancer{}, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	return peer.Balancer{
		Backend:     backend,
		Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	}, err
}

// login writes a home directory with a login at addr.
func (c *cluster) login(addr string, o lab.HomeOptions) (*transport, error) {
	dir, err := tempDir("home")
	if err != nil {
		return nil, err
	}
	tr := &transport{cluster: c.config.Cluster, addr: addr, home: dir, caFile: c.caFile}
	return tr, c.lab.WriteHome(dir, addr, o)
}

// loopback replaces the host of an address.
func loopback(addr string) string { return at("127.0.0.1", addr) }

// at replaces the host of an address.
func at(host, addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(host, port)
}

// tempDir is a directory that lives as long as the run.
func tempDir(name string) (string, error) {
	dir, err := os.MkdirTemp("", "tshx-"+name+"-")
	atExit(func() { os.RemoveAll(dir) })
	return dir, err
}
