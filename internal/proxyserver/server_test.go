package proxyserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"tshx/internal/identity"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// What is forwarded ends in the TLS server behind, which also chooses the
// protocol.
func TestForwards(t *testing.T) {
	host, err := testAuthority().HostCertificate()
	if err != nil {
		t.Fatal(err)
	}
	behind := backend(t, func(c net.Conn) {
		tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{host}, NextProtos: []string{"h2", "http/1.1"}})
		defer tc.Close()
		io.WriteString(tc, "behind")
	})
	auth := tlsroute.ClusterName(testCluster)
	for _, tt := range []struct {
		name, sni string
		alpn      []string
		want      string
	}{
		{"auth", auth, []string{"teleport-auth@" + auth, "h2"}, "h2"},
		{"kube", tlsroute.KubeServerName("localhost"), []string{"http/1.1"}, "http/1.1"},
		{"kube by address", tlsroute.KubeServerName("127.0.0.1"), nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, Options{AuthAddr: behind, KubeAddr: behind})
			c, err := tls.Dial("tcp", f.addr, &tls.Config{ServerName: tt.sni, RootCAs: testAuthority().Host.Pool(), NextProtos: tt.alpn})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := c.ConnectionState().NegotiatedProtocol; got != tt.want {
				t.Errorf("negotiated %q, want %q", got, tt.want)
			}
			if b, err := io.ReadAll(c); err != nil || string(b) != "behind" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

// The address of a trusted X-Forwarded-For is the client's for everything
// inside the upgrade too: here for a certificate that is bound to it.
func TestPinnedBehindBalancer(t *testing.T) {
	f := start(t, Options{TrustForwardedFor: true, Apps: []App{{Name: "echo", URI: "tcp://" + backend(t, echo)}}})
	id := appRoute("echo")
	id.PinnedIP = "203.0.113.9"
	cert := newUser(t).tls(id)
	for _, tt := range []struct {
		name, header string
		ok           bool
	}{
		{"bound to it", "X-Forwarded-For: 203.0.113.9\r\n", true},
		{"another", "X-Forwarded-For: 203.0.113.10\r\n", false},
		{"none", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.dial(nil)
			io.WriteString(c, "GET "+upgrade.Path+" HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: alpn\r\n"+tt.header+"\r\n")
			r := bufio.NewReader(c)
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || r.Buffered() != 0 {
				t.Fatalf("%v, %v", resp, err)
			}
			resp.Body.Close()
			inner := tls.Client(c, config(testAuthority().Host.Pool(), cert, "teleport-tcp"))
			io.WriteString(inner, "ding")
			inner.CloseWrite()
			if b, _ := io.ReadAll(inner); (string(b) == "ding") != tt.ok {
				t.Errorf("got %q", b)
			}
		})
	}
}

// Shutdown waits for those who are there, and lets nobody in.
func TestShutdown(t *testing.T) {
	for _, tt := range []struct {
		name     string
		graceful bool
	}{{"connection ends", true}, {"connection stays", false}} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, Options{Apps: []App{{Name: "echo", URI: "tcp://" + backend(t, echo)}}})
			c := f.dial(newUser(t).tls(appRoute("echo")), "teleport-tcp")
			io.WriteString(c, "a")
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			bound := time.Minute
			if !tt.graceful {
				bound = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- f.Shutdown(ctx) }()
			for { // until it does not listen any more
				d, err := net.Dial("tcp", f.addr)
				if err != nil {
					break
				}
				d.Close()
			}
			if tt.graceful {
				if got := roundTrip(t, c, "b"); got != "b" {
					t.Errorf("got %q", got)
				}
				c.Close()
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if n := f.Conns(); n != 0 {
				t.Errorf("%d connections are left", n)
			}
			if !tt.graceful {
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Error("the connection is still open")
				}
			}
		})
	}
}

func TestServeAfterClose(t *testing.T) {
	s, err := New(Options{Authority: testAuthority()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), listen(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("started without an authority")
	}
}

// The certificates hold the names that clients ask for.
func TestHostNames(t *testing.T) {
	host, err := testAuthority().HostCertificate("proxy.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"proxy.example.com", "localhost", "127.0.0.1", "::1", "teleport.cluster.local",
		tlsroute.ClusterName(testCluster), tlsroute.KubeServerName("proxy.example.com:443"), tlsroute.KubeServerName("localhost"), tlsroute.KubeFallback,
	} {
		if err := host.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}

func TestUserCertificate(t *testing.T) {
	for _, alg := range []Algorithm{RSA, ECDSA, Ed25519} {
		t.Run(string(alg), func(t *testing.T) {
			a, err := NewAuthority("c", alg)
			if err != nil {
				t.Fatal(err)
			}
			key, err := NewKey(alg)
			if err != nil {
				t.Fatal(err)
			}
			want := dbRoute("orders", "postgres")
			want.User, want.Roles = "alice", []string{"access"}
			r := UserRequest{Public: key.Public(), Identity: want, NotAfter: time.Now().Add(time.Hour)}
			cert, err := a.IssueSSH(r)
			if err != nil {
				t.Fatal(err)
			}
			if cert.SignatureKey.Type() != a.SSHUser.PublicKey().Type() {
				t.Errorf("signed by a %s", cert.SignatureKey.Type())
			}
			der, err := a.IssueTLS(r)
			if err != nil {
				t.Fatal(err)
			}
			c := parseCert(t, der)
			if got, err := identity.FromCertificate(c); err != nil || got.Database.Service != "orders" || identity.ClusterOf(c) != "c" {
				t.Errorf("%+v of %q, %v", got, identity.ClusterOf(c), err)
			}
			if c.CheckSignatureFrom(a.User.Certificate) != nil || c.CheckSignatureFrom(a.Host.Certificate) == nil {
				t.Error("not signed by the user authority alone")
			}
			if age := time.Since(c.NotBefore); age < time.Minute || age > 2*time.Minute {
				t.Errorf("began %v ago", age)
			}
		})
	}
	if _, err := NewAuthority("c", "dsa"); err == nil {
		t.Error("an authority with an unknown algorithm")
	}
}
