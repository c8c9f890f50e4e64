package proxyserver

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tshx/internal/accept"
	"tshx/internal/conn"
	"tshx/internal/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testCluster = "test.example.com"

// testAuthority is shared: nothing changes it.
var testAuthority = sync.OnceValue(func() *Authority {
	a, err := NewAuthority(testCluster, ECDSA)
	if err != nil {
		panic(err)
	}
	return a
})

type fixture struct {
	*Server
	addr string
	t    testing.TB
}

// start runs a proxy on loopback for as long as the test.
func start(t testing.TB, o Options) *fixture {
	t.Helper()
	if o.Authority == nil {
		o.Authority = testAuthority()
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) { // before it had begun
			t.Errorf("serve: %v", err)
		}
	})
	return &fixture{Server: s, addr: ln.Addr().String(), t: t}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// backend serves a loopback listener until the test ends and returns its
// address.
func backend(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	ln := listen(t)
	var set accept.Set
	done := make(chan struct{})
	go func() {
		accept.Loop(context.Background(), ln, func(c net.Conn) {
			set.Go(c, func(c net.Conn) { defer c.Close(); serve(c) })
		})
		close(done)
	}()
	t.Cleanup(func() { ln.Close(); <-done; set.Close(); set.Wait() })
	return ln.Addr().String()
}

// echo answers what it gets until the client half-closes.
func echo(c net.Conn) {
	io.Copy(c, c)
	conn.CloseWrite(c)
}

// user is a client with a key of its own.
type user struct {
	t   testing.TB
	key crypto.Signer
}

func newUser(t testing.TB) *user {
	key, err := NewKey(ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	return &user{t, key}
}

// request asks for a certificate of alice.
func (u *user) request(id identity.Identity) UserRequest {
	id.User, id.Roles, id.Logins = "alice", []string{"access"}, []string{"root", "alice"}
	return UserRequest{Public: u.key.Public(), Identity: id, NotAfter: time.Now().Add(time.Hour)}
}

func (u *user) tls(id identity.Identity) *tls.Certificate {
	u.t.Helper()
	der, err := testAuthority().IssueTLS(u.request(id))
	if err != nil {
		u.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: u.key}
}

func dbRoute(service, protocol string) identity.Identity {
	return identity.Identity{RouteToCluster: testCluster, Database: identity.Database{Service: service, Protocol: protocol}}
}

func appRoute(name string) identity.Identity {
	return identity.Identity{App: identity.App{Name: name, SessionID: "s", PublicAddr: name + ".localhost", Cluster: testCluster}}
}

// config offers alpn and a certificate, if not nil, and trusts roots.
func config(roots *x509.CertPool, cert *tls.Certificate, alpn ...string) *tls.Config {
	c := &tls.Config{ServerName: "localhost", RootCAs: roots, NextProtos: alpn}
	if cert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return c
}

// dial connects to the proxy as a client that is not behind a balancer.
func (f *fixture) dial(cert *tls.Certificate, alpn ...string) *tls.Conn {
	f.t.Helper()
	roots := testAuthority().Web.Pool()
	if len(alpn) > 0 && alpn[0] == "teleport-proxy-ssh" {
		roots = testAuthority().Host.Pool()
	}
	c, err := tls.Dial("tcp", f.addr, config(roots, cert, alpn...))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

// roundTrip sends text and a half-close, and returns all that comes back.
func roundTrip(t testing.TB, c net.Conn, text string) string {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(c); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parseCert(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
