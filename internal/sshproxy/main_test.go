package sshproxy_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"tshx/internal/accept"
	"tshx/internal/conn"
	"tshx/internal/identity"
	"tshx/internal/proxyserver"
	"tshx/internal/sshproxy"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const cluster = "test.example.com"

var authority = sync.OnceValue(func() *proxyserver.Authority {
	a, err := proxyserver.NewAuthority(cluster, proxyserver.ECDSA)
	if err != nil {
		panic(err)
	}
	return a
})

// rsaKey is shared, because making one takes its time.
var rsaKey = sync.OnceValue(func() crypto.Signer {
	key, err := proxyserver.NewKey(proxyserver.RSA)
	if err != nil {
		panic(err)
	}
	return key
})

func newKey(t testing.TB, alg proxyserver.Algorithm) crypto.Signer {
	t.Helper()
	if alg == proxyserver.RSA {
		return rsaKey()
	}
	key, err := proxyserver.NewKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signer is a certificate for root and alice, with its key.
func signer(t testing.TB, key crypto.Signer, change ...func(*proxyserver.UserRequest)) ssh.Signer {
	t.Helper()
	r := proxyserver.UserRequest{
		Public: key.Public(), NotAfter: time.Now().Add(time.Hour),
		Identity: identity.Identity{User: "alice", Logins: []string{"root", "alice"}},
	}
	for _, f := range change {
		f(&r)
	}
	cert, err := authority().IssueSSH(r)
	if err != nil {
		t.Fatal(err)
	}
	return certSigner(t, cert, key)
}

func certSigner(t testing.TB, cert *ssh.Certificate, key crypto.Signer) ssh.Signer {
	t.Helper()
	plain, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(cert, plain)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hosts trusts the authority for localhost.
func hosts(t testing.TB, ca ssh.PublicKey) *sshproxy.Authorities {
	t.Helper()
	line := "@cert-authority localhost," + cluster + ",*." + cluster + " " + string(ssh.MarshalAuthorizedKey(ca))
	a, err := sshproxy.ParseAuthorities([]byte(line), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func options(t testing.TB) sshproxy.Options {
	return sshproxy.Options{
		Addr: "localhost:3080", User: "root", Node: sshproxy.Node{Host: "node1", Cluster: cluster},
		Signer: signer(t, newKey(t, proxyserver.ECDSA)),
		Hosts:  hosts(t, authority().SSHHost.PublicKey()),
	}
}

// proxy is a real server half with nodes. It ends with the test.
type proxy struct {
	t    testing.TB
	addr string
}

func startProxy(t testing.TB, b proxyserver.Behavior, nodes ...proxyserver.Node) *proxy {
	t.Helper()
	s, err := proxyserver.New(proxyserver.Options{Authority: authority(), Behavior: b, Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &proxy{t: t, addr: ln.Addr().String()}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// node serves a loopback listener until the test ends.
func node(t testing.TB, name string, serve func(net.Conn)) proxyserver.Node {
	t.Helper()
	ln := listen(t)
	var set accept.Set
	done := make(chan struct{})
	go func() {
		defer close(done)
		accept.Loop(context.Background(), ln, func(c net.Conn) {
			set.Go(c, func(c net.Conn) { defer c.Close(); serve(c) })
		})
	}()
	t.Cleanup(func() { ln.Close(); <-done; set.Close(); set.Wait() })
	return proxyserver.Node{Name: name, Addr: ln.Addr().String()}
}

// dial reaches the proxy's SSH front, directly or through an upgrade.
func (p *proxy) dial(upgraded bool) net.Conn {
	p.t.Helper()
	d := tlsroute.Dialer{
		Finder: &tlsroute.Finder{
			Target:  upgrade.Target{Addr: p.addr, Roots: authority().Web.Pool()},
			Profile: &tlsroute.Way{Upgrade: upgraded, At: time.Now()},
		},
		HostCAs: func() (*x509.CertPool, error) { return authority().Host.Pool(), nil },
	}
	c, err := d.Dial(p.t.Context(), tlsroute.Route{Name: "ssh", ALPN: []string{tlsroute.ALPNSSH}, HostCert: true})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p *proxy) open(o sshproxy.Options) (*sshproxy.Session, error) {
	p.t.Helper()
	s, err := sshproxy.Open(p.t.Context(), p.dial(false), o)
	if err == nil {
		p.t.Cleanup(func() { s.Close() })
	}
	return s, err
}

// fake is the SSH front of a proxy that misbehaves as a test wants. The zero
// value accepts every login and every session.
type fake struct {
	config  ssh.ServerConfig
	host    ssh.Signer                            // nil: a certificate for localhost
	channel func(*ssh.ServerConn, ssh.NewChannel) // nil: accept, then session
	session func(*fakeSession)                    // at the subsystem request
}

// fakeSession is a session channel at the point where its subsystem is asked
// for.
type fakeSession struct {
	ssh.Channel
	conn    *ssh.ServerConn
	wire    net.Conn
	request *ssh.Request
	before  []string // the types of the requests that came before
	after   func()   // called when both sides have closed the channel; may be nil
}

func (s *fakeSession) exit(status uint32) {
	s.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
}

func (s *fakeSession) say(words string) { io.WriteString(s.Stderr(), words) }

// connect returns the client's end of a connection that f serves until either
// end closes it.
func (f *fake) connect(t testing.TB) net.Conn {
	t.Helper()
	client, server := tcpPair(t)
	f.serveConn(t, server)
	return client
}

// serveConn serves c in the background until the test ends.
func (f *fake) serveConn(t testing.TB, c net.Conn) {
	t.Helper()
	if f.host == nil {
		host, err := authority().SSHHostSigner("Proxy", "localhost")
		if err != nil {
			t.Fatal(err)
		}
		f.host = host
	}
	f.config.AddHostKey(f.host)
	if f.config.PublicKeyCallback == nil {
		f.config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }
	}
	done := make(chan struct{})
	go func() { defer close(done); f.serve(c) }()
	t.Cleanup(func() { c.Close(); <-done })
}

func (f *fake) serve(c net.Conn) {
	sc, chans, reqs, err := ssh.NewServerConn(c, &f.config)
	if err != nil {
		c.Close()
		return
	}
	defer sc.Close()
	go ssh.DiscardRequests(reqs)
	var wg sync.WaitGroup
	for nc := range chans {
		if f.channel != nil {
			f.channel(sc, nc)
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			continue
		}
		wg.Go(func() {
			s := &fakeSession{Channel: ch, conn: sc, wire: c}
			for r := range reqs {
				if r.Type == "subsystem" {
					s.request = r
					f.session(s)
					break
				}
				s.before = append(s.before, r.Type)
			}
			ssh.DiscardRequests(reqs)
			if s.after != nil {
				s.after()
			}
		})
	}
	wg.Wait()
}

func tcpPair(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// echoAll answers with what it has read, once there is no more to read.
func echoAll(c net.Conn) {
	b, _ := io.ReadAll(c)
	io.Copy(c, bytes.NewReader(b))
	conn.CloseWrite(c)
}

// checkLine checks that an error is fit to be printed as one line.
func checkLine(t *testing.T, err error) {
	t.Helper()
	if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		t.Errorf("not one clean line: %q", err)
	}
}
