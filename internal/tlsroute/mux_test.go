package tlsroute_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"tshx/internal/identity"
	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// muxFixture is a Mux whose handlers answer with what they were given.
type muxFixture struct {
	*tlsroute.Mux
	authority *proxyserver.Authority
	host      *tls.Config // the override of upgraded connections
}

func newMux(t testing.TB, confirmSSH bool) *muxFixture {
	t.Helper()
	a, err := proxyserver.NewAuthority("mux.example.com", proxyserver.ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	web, err := a.WebCertificate()
	if err != nil {
		t.Fatal(err)
	}
	host, err := a.HostCertificate()
	if err != nil {
		t.Fatal(err)
	}
	webTLS := &tls.Config{
		Certificates: []tls.Certificate{web}, NextProtos: tlsroute.ServerProtocols(),
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: a.User.Pool(),
	}
	hostTLS := webTLS.Clone()
	hostTLS.Certificates = []tls.Certificate{host}
	inner := hostTLS.Clone()
	inner.NextProtos, inner.ClientAuth = nil, tls.RequireAndVerifyClientCert
	sshTLS := hostTLS.Clone()
	sshTLS.NextProtos = nil
	if confirmSSH {
		sshTLS.NextProtos = []string{tlsroute.ALPNSSH}
	}
	kube, db := answer("kube"), answer("db")
	kube.Forward = true
	auth := answer("auth")
	auth.Forward = true
	ssh := answer("ssh")
	ssh.TLS = sshTLS
	m := &tlsroute.Mux{TLS: webTLS, InnerTLS: inner, Kube: &kube, KubeLegacy: true, Database: &db, Routes: map[string]tlsroute.Handler{
		tlsroute.ALPNSSH: ssh, tlsroute.ALPNAuthPrefix: auth,
		tlsroute.ALPNHTTP1: answer("web"), tlsroute.ALPNHTTP2: answer("web"),
		tlsroute.ALPNReverseTunnel: answer("agent"), tlsroute.ALPNTCP: answer("tcp"),
		tlsroute.ALPNPostgres: answer("postgres"), tlsroute.ALPNMySQL: answer("mysql"),
	}}
	return &muxFixture{Mux: m, authority: a, host: hostTLS}
}

// answer writes its name and what the Mux says of the client, in one line.
func answer(name string) tlsroute.Handler {
	return tlsroute.Handler{Serve: func(_ context.Context, c net.Conn, info tlsroute.Info) {
		defer c.Close()
		words := []string{name, cmp.Or(info.Identity.User, "-"), cmp.Or(info.Identity.Database.Service, "-")}
		for _, n := range info.Hello.ALPN {
			if v := tlsroute.ParseMySQLVersion(n); v != "" {
				words = append(words, v)
			}
		}
		io.WriteString(c, strings.Join(words, " "))
	}}
}

// serve hands a new connection to the Mux and returns the client's end.
func (f *muxFixture) serve(t testing.TB, override *tls.Config) net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { f.ServeConn(t.Context(), server, override); close(done) }()
	t.Cleanup(func() { client.Close(); <-done })
	return client
}

// certificate issues a user's certificate for the identity.
func (f *muxFixture) certificate(t testing.TB, id identity.Identity) *tls.Certificate {
	t.Helper()
	id.User, id.Roles = "alice", []string{"access"}
	key, err := proxyserver.NewKey(proxyserver.ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	der, err := f.authority.IssueTLS(proxyserver.UserRequest{Public: key.Public(), Identity: id, NotAfter: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// clientTLS offers names and, if not nil, a certificate whatever the server
// asks for. It trusts all and remembers who signed.
func clientTLS(sni string, alpn []string, cert *tls.Certificate) *tls.Config {
	cfg := &tls.Config{ServerName: sni, NextProtos: alpn, InsecureSkipVerify: true}
	if cert != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return cfg
}

// outcome is what a client sees of a route.
type outcome struct {
	Answer string // of the handler; "eof", "alert: ..." if there was none
	ALPN   string
	Issuer string // "web" or "host"
}

func describe(err error) string {
	var alert tls.AlertError
	var op *net.OpError
	switch {
	case errors.As(err, &alert):
		return "alert: " + alert.Error()
	case errors.As(err, &op) && op.Op == "remote error":
		return "alert: " + op.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof"
	}
	return err.Error()
}

func (f *muxFixture) try(t *testing.T, c net.Conn, outer, inner *tls.Config) outcome {
	tc := tls.Client(c, outer)
	if err := tc.HandshakeContext(t.Context()); err != nil {
		return outcome{Answer: describe(err)}
	}
	st := tc.ConnectionState()
	out := outcome{ALPN: st.NegotiatedProtocol, Issuer: f.issuer(st.PeerCertificates[0])}
	var stream net.Conn = tc
	if tlsroute.IsPing(out.ALPN) {
		stream = upgrade.NewPingConn(tc)
	}
	if inner != nil {
		stream = tls.Client(stream, inner)
	}
	b, err := io.ReadAll(stream)
	if out.Answer = string(b); err != nil || len(b) == 0 {
		out.Answer = "eof"
		if err != nil {
			out.Answer = describe(err)
		}
	}
	return out
}

func (f *muxFixture) issuer(leaf *x509.Certificate) string {
	for name, ca := range map[string]*proxyserver.CA{"web": f.authority.Web, "host": f.authority.Host} {
		if leaf.CheckSignatureFrom(ca.Certificate) == nil {
			return name
		}
	}
	return "unknown"
}

func TestMuxRoutes(t *testing.T) {
	f := newMux(t, false)
	const noProtocol = "alert: tls: no application protocol"
	for _, tt := range []struct {
		name     string
		sni      string
		alpn     []string
		upgraded bool
		want     outcome
	}{
		{name: "nothing offered is http", want: outcome{"web - -", "", "web"}},
		{name: "http/1.1", alpn: []string{"http/1.1"}, want: outcome{"web - -", "http/1.1", "web"}},
		{name: "http/1.1 precedes h2", alpn: []string{"h2", "http/1.1"}, want: outcome{"web - -", "http/1.1", "web"}},
		{name: "h2", alpn: []string{"h2"}, want: outcome{"web - -", "h2", "web"}},
		{name: "http upgraded", alpn: []string{"http/1.1"}, upgraded: true, want: outcome{"web - -", "http/1.1", "host"}},
		{name: "ssh is not confirmed", alpn: []string{"teleport-proxy-ssh"}, want: outcome{"ssh - -", "", "host"}},
		{name: "ssh upgraded", alpn: []string{"teleport-proxy-ssh"}, upgraded: true, want: outcome{"ssh - -", "", "host"}},
		{name: "ssh has no ping variant", alpn: []string{"teleport-proxy-ssh-ping"}, want: outcome{Answer: "eof"}},
		{name: "upgrade test", alpn: []string{"teleport-reversetunnel"}, want: outcome{"agent - -", "teleport-reversetunnel", "web"}},
		{name: "agent upgraded", alpn: []string{"teleport-reversetunnel"}, upgraded: true, want: outcome{"agent - -", "teleport-reversetunnel", "host"}},
		{name: "agent with peering", alpn: []string{"teleport-reversetunnelv2", "teleport-reversetunnel"}, want: outcome{"agent - -", "teleport-reversetunnel", "web"}},
		{name: "postgres", alpn: []string{"teleport-postgres"}, want: outcome{"postgres - -", "teleport-postgres", "web"}},
		{name: "ping wins", alpn: []string{"teleport-postgres", "teleport-postgres-ping"}, want: outcome{"postgres - -", "teleport-postgres-ping", "web"}},
		{name: "ping alone", alpn: []string{"teleport-mysql-ping"}, want: outcome{"mysql - -", "teleport-mysql-ping", "web"}},
		{name: "mysql with version", alpn: []string{"teleport-mysql-ping", "teleport-mysql", tlsroute.MySQLVersion("8.0.4")}, want: outcome{"mysql - - 8.0.4", "teleport-mysql-ping", "web"}},
		{name: "mysql version alone is never negotiated", alpn: []string{tlsroute.MySQLVersion("8.0.4")}, want: outcome{Answer: noProtocol}},
		{name: "tcp", alpn: []string{"teleport-tcp-ping", "teleport-tcp"}, want: outcome{"tcp - -", "teleport-tcp-ping", "web"}},
		{name: "tcp upgraded", alpn: []string{"teleport-tcp-ping", "teleport-tcp"}, upgraded: true, want: outcome{"tcp - -", "teleport-tcp-ping", "host"}},
		{name: "unknown", alpn: []string{"teleport-nothing"}, want: outcome{Answer: "eof"}},
		{name: "unknown, then known", alpn: []string{"teleport-nothing", "http/1.1"}, want: outcome{"web - -", "http/1.1", "web"}},
		{name: "the client's order finds the handler, the server's the protocol", alpn: []string{"teleport-reversetunnel", "http/1.1"}, want: outcome{"agent - -", "http/1.1", "web"}},
		{name: "no handler for the grpc transport", alpn: []string{"teleport-proxy-ssh-grpc"}, want: outcome{Answer: "eof"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var override *tls.Config
			if tt.upgraded {
				override = f.host
			}
			got := f.try(t, f.serve(t, override), clientTLS(cmp.Or(tt.sni, "localhost"), tt.alpn, nil), nil)
			if diff := gocmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMuxConfirmsSSH(t *testing.T) {
	f := newMux(t, true)
	got := f.try(t, f.serve(t, nil), clientTLS("localhost", []string{"teleport-proxy-ssh"}, nil), nil)
	if diff := gocmp.Diff(outcome{"ssh - -", "teleport-proxy-ssh", "host"}, got); diff != "" {
		t.Error(diff)
	}
}

// Forwarded handlers get the ClientHello itself: the answer of the test's
// handler is no TLS, so it is read from the raw connection.
func TestMuxForwards(t *testing.T) {
	f := newMux(t, false)
	for _, tt := range []struct {
		name, sni string
		alpn      []string
		want      string
	}{
		{"kube", "kube-teleport-proxy-alpn.localhost", []string{"http/1.1"}, "kube - -"},
		{"kube without alpn", tlsroute.KubeFallback, nil, "kube - -"},
		{"kube whatever the alpn", tlsroute.KubeFallback, []string{"teleport-nothing"}, "kube - -"},
		{"legacy kube", "kube.example.com", []string{"h2"}, "kube - -"},
		{"auth", tlsroute.ClusterName("mux.example.com"), []string{"teleport-auth@" + tlsroute.ClusterName("mux.example.com"), "h2"}, "auth - -"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.serve(t, nil)
			go tls.Client(writeOnly{c}, clientTLS(tt.sni, tt.alpn, nil)).HandshakeContext(t.Context())
			got, err := io.ReadAll(c)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// The server name leads to Kubernetes before anybody looks at the certificate,
// with the handshake as without.
func TestMuxKubeCertificates(t *testing.T) {
	f := newMux(t, false)
	f.Kube.Forward, f.Kube.TLS = false, f.host
	for _, id := range []identity.Identity{
		{Database: identity.Database{Service: "orders", Protocol: "redis"}},
		{KubeCluster: "k"},
	} {
		cfg := clientTLS(tlsroute.KubeFallback, []string{"teleport-redis", "http/1.1"}, f.certificate(t, id))
		want := outcome{"kube alice " + cmp.Or(id.Database.Service, "-"), "http/1.1", "host"}
		if diff := gocmp.Diff(want, f.try(t, f.serve(t, nil), cfg, nil)); diff != "" {
			t.Error(diff)
		}
	}
}

// writeOnly sends a ClientHello and reads nothing.
type writeOnly struct{ net.Conn }

func (writeOnly) Read([]byte) (int, error) { return 0, io.EOF }
func (writeOnly) Close() error             { return nil }

func TestMuxForwardedHelloIsWhole(t *testing.T) {
	f := newMux(t, false)
	got := make(chan []byte, 1)
	f.Kube.Serve = func(_ context.Context, c net.Conn, _ tlsroute.Info) {
		defer c.Close()
		b, _ := io.ReadAll(c)
		got <- b
	}
	hello := recordHello(t, "kube.example.com", nil)
	c := f.serve(t, nil)
	want := string(hello) + "early bytes"
	io.WriteString(c, want)
	c.(*net.TCPConn).CloseWrite()
	if diff := gocmp.Diff(want, string(<-got)); diff != "" {
		t.Error(diff)
	}
}

func TestMuxDatabases(t *testing.T) {
	f := newMux(t, false)
	orders := f.certificate(t, identity.Identity{Database: identity.Database{Service: "orders", Protocol: "postgres"}})
	user := f.certificate(t, identity.Identity{})
	for _, tt := range []struct {
		name         string
		alpn         string
		outer, inner *tls.Certificate // inner: the second handshake
		innerTLS     bool
		want         outcome
	}{
		{name: "certificate in the outer handshake", alpn: "teleport-redis", outer: orders, want: outcome{"db alice orders", "teleport-redis", "web"}},
		{name: "ping", alpn: "teleport-redis-ping", outer: orders, want: outcome{"db alice orders", "teleport-redis-ping", "web"}},
		{name: "certificate decides, not the alpn", alpn: "teleport-mysql", outer: orders, want: outcome{"db alice orders", "teleport-mysql", "web"}},
		{name: "even on http", alpn: "http/1.1", outer: orders, want: outcome{"db alice orders", "http/1.1", "web"}},
		{name: "other certificates leave the alpn to decide", alpn: "teleport-postgres", outer: user, want: outcome{"postgres alice -", "teleport-postgres", "web"}},
		{name: "second handshake", alpn: "teleport-redis", inner: orders, innerTLS: true, want: outcome{"db alice orders", "teleport-redis", "web"}},
		{name: "second handshake, ping", alpn: "teleport-mongodb-ping", inner: orders, innerTLS: true, want: outcome{"db alice orders", "teleport-mongodb-ping", "web"}},
		{name: "second handshake below a user's", alpn: "teleport-redis", outer: user, inner: orders, innerTLS: true, want: outcome{"db alice orders", "teleport-redis", "web"}},
		{name: "second handshake without certificate", alpn: "teleport-redis", innerTLS: true, want: outcome{"alert: tls: certificate required", "teleport-redis", "web"}},
		{name: "second handshake without a database", alpn: "teleport-redis", inner: user, innerTLS: true, want: outcome{"eof", "teleport-redis", "web"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var inner *tls.Config
			if tt.innerTLS {
				inner = clientTLS("localhost", nil, tt.inner)
				inner.InsecureSkipVerify = false
				inner.RootCAs = f.authority.Host.Pool()
			}
			got := f.try(t, f.serve(t, nil), clientTLS("localhost", []string{tt.alpn}, tt.outer), inner)
			if diff := gocmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMuxRefusesCertificates(t *testing.T) {
	f := newMux(t, false)
	other := newMux(t, false)
	for _, tt := range []struct {
		name string
		cert *tls.Certificate
		want string
	}{
		{"wrong authority", other.certificate(t, identity.Identity{}), "alert: tls: unknown certificate authority"},
		{"pinned elsewhere", f.certificate(t, identity.Identity{PinnedIP: "203.0.113.7"}), "eof"},
		{"pinned here", f.certificate(t, identity.Identity{PinnedIP: "127.0.0.1"}), "web alice -"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := f.try(t, f.serve(t, nil), clientTLS("localhost", nil, tt.cert), nil)
			if got.Answer != tt.want {
				t.Errorf("got %q, want %q", got.Answer, tt.want)
			}
		})
	}
}

// A pair of pipes stands in for the network, so that the time is the test's.
func TestMuxTime(t *testing.T) {
	for _, tt := range []struct {
		name   string
		client func(t *testing.T, c net.Conn) // until the server closes
		want   time.Duration
	}{
		{"silent client", func(*testing.T, net.Conn) {}, tlsroute.HelloTimeout},
		{"silent in an upgrade", func(*testing.T, net.Conn) {}, tlsroute.UpgradedHelloTimeout},
		{"half a hello", func(t *testing.T, c net.Conn) {
			c.Write(recordHello(t, "localhost", nil)[:20])
		}, tlsroute.HelloTimeout},
		{"hello and no more", func(t *testing.T, c net.Conn) {
			go io.Copy(io.Discard, c)
			c.Write(recordHello(t, "localhost", nil))
		}, tlsroute.HandshakeTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newMux(t, false)
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				start := time.Now()
				go tt.client(t, client)
				var override *tls.Config
				if tt.want == tlsroute.UpgradedHelloTimeout {
					override = &tls.Config{}
				}
				f.ServeConn(t.Context(), server, override)
				if got := time.Since(start); got != tt.want {
					t.Errorf("closed after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestMuxPings(t *testing.T) {
	f := newMux(t, false)
	f.Routes[tlsroute.ALPNTCP] = tlsroute.Handler{Serve: func(_ context.Context, c net.Conn, _ tlsroute.Info) {
		defer c.Close()
		io.Copy(io.Discard, c)
	}}
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() { f.ServeConn(t.Context(), server, nil); close(done) }()
		tc := tls.Client(client, clientTLS("localhost", []string{"teleport-tcp-ping"}, nil))
		if err := tc.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for i := range 3 {
			var b [4]byte
			if _, err := io.ReadFull(tc, b[:]); err != nil || b != [4]byte{} {
				t.Fatalf("ping %d: % x, %v", i, b, err)
			}
			if got, want := time.Since(start), time.Duration(i+1)*upgrade.PingInterval; got != want {
				t.Errorf("ping %d after %v, want %v", i, got, want)
			}
		}
		client.Close()
		<-done
	})
}

func TestMuxEndsWithContext(t *testing.T) {
	f := newMux(t, false)
	started := make(chan struct{})
	f.Routes[tlsroute.ALPNHTTP1] = tlsroute.Handler{Serve: func(context.Context, net.Conn, tlsroute.Info) {
		close(started) // returns early and leaves the connection open, as a web server's queue does
	}}
	client, server := net.Pipe()
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { f.ServeConn(ctx, server, nil); close(done) }()
	if err := tls.Client(client, clientTLS("localhost", nil, nil)).HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-started
	select {
	case <-done:
		t.Fatal("returned while the connection is open")
	default:
	}
	cancel()
	<-done
}
