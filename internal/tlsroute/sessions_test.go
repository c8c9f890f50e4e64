package tlsroute_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// layers returns the TLS connections in c, the innermost first.
func layers(c net.Conn) (list []*tls.Conn) {
	for {
		if tc, ok := c.(*tls.Conn); ok {
			list = append(list, tc)
		}
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return list
		}
		c = w.NetConn()
	}
}

// resumed dials, proves the stream, whose end has carried the session ticket,
// and reports of each layer, the innermost first, whether it was resumed.
func resumed(t *testing.T, d tlsroute.RouteDialer, r tlsroute.Route) (list []bool) {
	t.Helper()
	c, err := d.Dial(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers(c) {
		list = append(list, l.ConnectionState().DidResume)
	}
	checkEcho(t, c)
	return list
}

// A second connection resumes the session of the first in all layers, and is as
// good: the proxy knows the client, the protocol is negotiated.
func TestResume(t *testing.T) {
	for name, tt := range map[string]struct {
		behavior proxyserver.Behavior
		balanced bool
		layers   int
	}{
		"raw v17":  {proxyserver.V17(), false, 1},
		"raw v14":  {proxyserver.V14(), false, 1},
		"upgraded": {proxyserver.V17(), true, 2},
		"legacy":   {proxyserver.V14(), true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.behavior)
			if tt.balanced {
				w.replace(w.balancer())
			}
			d, r := w.dialer(), echoRoute(t)
			for i := range 4 {
				got := resumed(t, d, r)
				if len(got) != tt.layers {
					t.Fatalf("%d layers of TLS, want %d", len(got), tt.layers)
				}
				if i == 0 && got[0] { // the outer layer may be the second attempt's
					t.Error("the first connection was resumed")
				}
				if i > 0 && slices.Contains(got, false) {
					t.Errorf("connection %d: layers resumed, the innermost first: %v", i+1, got)
				}
			}
		})
	}
}

// Whatever a session could outlive changes: the next handshake is a full one.
func TestNotResumed(t *testing.T) {
	other, err := proxyserver.NewAuthority("other.example.com", proxyserver.ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	both := authority().Host.Pool()
	both.AppendCertsFromPEM(other.Host.PEM())
	for name, tt := range map[string]struct {
		balanced bool
		change   func(t *testing.T, d *tlsroute.Dialer, r *tlsroute.Route)
		want     bool
	}{
		"nothing": {false, func(*testing.T, *tlsroute.Dialer, *tlsroute.Route) {}, true},
		"the same authorities, read anew": {true, func(_ *testing.T, d *tlsroute.Dialer, _ *tlsroute.Route) {
			d.HostCAs = func() (*x509.CertPool, error) { return authority().Host.Pool(), nil }
		}, true},
		"client certificate": {false, func(t *testing.T, _ *tlsroute.Dialer, r *tlsroute.Route) { r.Certificate = appCert(t) }, false},
		"protocols": {false, func(_ *testing.T, _ *tlsroute.Dialer, r *tlsroute.Route) {
			r.ALPN = []string{"teleport-tcp"}
		}, false},
		"server name": {false, func(_ *testing.T, _ *tlsroute.Dialer, r *tlsroute.Route) { r.ServerName = "localhost" }, false},
		"host authorities": {true, func(_ *testing.T, d *tlsroute.Dialer, _ *tlsroute.Route) {
			d.HostCAs = func() (*x509.CertPool, error) { return both, nil }
		}, false},
		"public authorities": {false, func(_ *testing.T, d *tlsroute.Dialer, _ *tlsroute.Route) {
			d.Finder.Target.Roots = authority().Web.Pool()
			d.Finder.Target.Roots.AppendCertsFromPEM(other.Web.PEM())
		}, false},
		"verification": {false, func(_ *testing.T, d *tlsroute.Dialer, _ *tlsroute.Route) { d.Finder.Target.Insecure = true }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, proxyserver.V17())
			if tt.balanced {
				w.replace(w.balancer())
			}
			d, r := w.dialer(), echoRoute(t)
			resumed(t, d, r)
			tt.change(t, d, &r)
			if got := resumed(t, d, r)[0]; got != tt.want {
				t.Errorf("resumed: %v, want %v", got, tt.want)
			}
		})
	}
}

// A session does not make an authority trusted that no longer is.
func TestResumeForeignAuthority(t *testing.T) {
	w := newWorld(t, proxyserver.V17())
	w.replace(w.balancer())
	d, r := w.dialer(), echoRoute(t)
	resumed(t, d, r)
	d.HostCAs = func() (*x509.CertPool, error) { return authority().Web.Pool(), nil }
	if c, err := d.Dial(t.Context(), r); err == nil {
		c.Close()
		t.Error("a host certificate was taken that no authority vouches for")
	}
}

// A resumed session is held to the dates of the client certificate, by the
// server half too, and says the same about the client.
func TestResumeExpiredCertificate(t *testing.T) {
	web, err := authority().WebCertificate()
	if err != nil {
		t.Fatal(err)
	}
	var later atomic.Int64 // nanoseconds
	infos := make(chan tlsroute.Info, 1)
	m := &tlsroute.Mux{
		TLS: &tls.Config{
			Certificates: []tls.Certificate{web}, NextProtos: tlsroute.ServerProtocols(),
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: authority().User.Pool(),
			Time: func() time.Time { return time.Now().Add(time.Duration(later.Load())) },
		},
		Routes: map[string]tlsroute.Handler{tlsroute.ALPNTCP: {Serve: func(_ context.Context, c net.Conn, info tlsroute.Info) {
			infos <- info
			io.Copy(c, c)
			c.Close()
		}}},
	}
	addr := serve(t, func(c net.Conn) { m.ServeConn(context.Background(), c, nil) })
	d := &tlsroute.Dialer{Finder: &tlsroute.Finder{
		Target:  upgrade.Target{Addr: addr, Roots: authority().Web.Pool()},
		Profile: &tlsroute.Way{At: time.Now()},
	}}
	r := tlsroute.Route{Name: "echo", ALPN: []string{tlsroute.ALPNTCP}, Certificate: appCertUntil(t, time.Now().Add(time.Hour))}
	resumed(t, d, r)
	full := <-infos
	if !resumed(t, d, r)[0] {
		t.Fatal("not resumed")
	}
	again := <-infos
	if again.Certificate == nil || !again.Certificate.Equal(full.Certificate) || again.Identity.User != full.Identity.User ||
		again.Identity.App.Name != "echo" || again.ALPN != tlsroute.ALPNTCP {
		t.Errorf("a resumed session says %+v", again)
	}

	later.Store(int64(2 * time.Hour))
	c, err := d.Dial(t.Context(), r)
	if err == nil { // in TLS 1.3 the client has finished before it is refused
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if alert, ok := upgrade.Alert(err); !ok {
		t.Errorf("with an expired certificate: %v (alert %d)", err, alert)
	}
	select {
	case info := <-infos:
		t.Errorf("an expired certificate was served: %+v", info.Identity)
	default:
	}
}

// BenchmarkDial measures a connection to its first byte, against the server half
// in the same process. Full forgets
// the sessions each time.
func BenchmarkDial(b *testing.B) {
	for _, way := range []string{"raw", "upgraded"} {
		for _, mode := range []string{"full", "resumed"} {
			b.Run(way+"/"+mode, func(b *testing.B) {
				w := newWorld(b, proxyserver.V17())
				if way == "upgraded" {
					w.replace(w.balancer())
				}
				d, r := w.dialer(), echoRoute(b)
				for b.Loop() {
					if mode == "full" {
						d = &tlsroute.Dialer{Finder: d.Finder, HostCAs: d.HostCAs}
					}
					c, err := d.Dial(b.Context(), r)
					if err != nil {
						b.Fatal(err)
					}
					one := []byte{1}
					c.Write(one)
					if _, err := io.ReadFull(c, one); err != nil {
						b.Fatal(err)
					}
					c.Close()
				}
			})
		}
	}
}
