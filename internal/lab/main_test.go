package lab

import (
	"context"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"tshx/internal/profile"
	"tshx/internal/sshproxy"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t testing.TB, c Config) *Lab {
	t.Helper()
	l, err := Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}

// client is a login at a lab, read by the client's own packages.
type client struct {
	*profile.Profile
	dialer *tlsroute.Dialer
}

func writeHome(t testing.TB, l *Lab, addr string, o HomeOptions) *client {
	t.Helper()
	dir := t.TempDir()
	if err := l.WriteHome(dir, addr, o); err != nil {
		t.Fatal(err)
	}
	return openHome(t, l, profile.Options{Dir: dir, Now: time.Now, Getenv: func(string) string { return "" }})
}

func openHome(t testing.TB, l *Lab, o profile.Options) *client {
	t.Helper()
	p, err := profile.Load(o)
	if err != nil {
		t.Fatal(err)
	}
	f := &tlsroute.Finder{Target: upgrade.Target{Addr: p.WebAddr, Roots: l.Authority.Web.Pool()}, Now: time.Now}
	return &client{p, &tlsroute.Dialer{Finder: f, HostCAs: p.HostCAs}}
}

// ssh logs in at a node through the proxy.
func (h *client) ssh(t testing.TB, l *Lab, node string) *ssh.Client {
	t.Helper()
	_, signer, err := h.SSHSigner()
	if err != nil {
		t.Fatal(err)
	}
	lines, err := h.HostKeyLines()
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := sshproxy.ParseAuthorities(lines, h.Name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.dialer.Dial(t.Context(), tlsroute.Route{Name: "ssh", ALPN: []string{tlsroute.ALPNSSH}, HostCert: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sshproxy.Open(t.Context(), c, sshproxy.Options{
		Addr: h.WebAddr, User: "root", Signer: signer, Hosts: hosts,
		Node: sshproxy.Node{Host: node, Port: "0", Cluster: h.Cluster},
	})
	if err != nil {
		t.Fatal(err)
	}
	cc, chans, reqs, err := ssh.NewClientConn(streamConn{Session: s}, node+".lab.example.com:22", &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: (&ssh.CertChecker{IsHostAuthority: func(k ssh.PublicKey, _ string) bool {
			return string(k.Marshal()) == string(l.Authority.SSHHost.PublicKey().Marshal())
		}}).CheckHostKey,
	})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(cc, chans, reqs)
	t.Cleanup(func() { client.Close() })
	return client
}

// streamConn is a session as the net.Conn that x/crypto/ssh asks for; it uses
// neither addresses nor deadlines.
type streamConn struct {
	*sshproxy.Session
	net.Conn
}

func (c streamConn) Read(p []byte) (int, error)  { return c.Session.Read(p) }
func (c streamConn) Write(p []byte) (int, error) { return c.Session.Write(p) }
func (c streamConn) Close() error                { return c.Session.Close() }
func (streamConn) LocalAddr() net.Addr           { return &net.TCPAddr{} }
func (streamConn) RemoteAddr() net.Addr          { return &net.TCPAddr{} }

// verifies reports whether a certificate was issued by ca for clients.
func verifies(c *x509.Certificate, roots *x509.CertPool) error {
	_, err := c.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}
