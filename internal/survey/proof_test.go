package survey

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// switches answers legacy upgrades with a 101 and then does TLS by cfg, as something
// would that a balancer sends them to.
func switches(t testing.TB, cfg *tls.Config) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		kind := r.Header.Get("X-Teleport-Upgrade")
		if kind == "" {
			http.NotFound(w, r)
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", kind)
		var below net.Conn = c
		if kind == string(upgrade.ALPNPing) {
			below = upgrade.NewPingConn(c)
		}
		inner := tls.Server(below, cfg)
		defer inner.Close()
		io.Copy(io.Discard, inner)
	}
}

// A 101 proves nothing, nor does just any TLS inside of it: it has to be the
// proxy's, by its protocol and by its host certificate.
func TestWhatProvesTheProxy(t *testing.T) {
	a := authority()
	host, err := a.HostCertificate()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := newAuthority("other.example.com").HostCertificate()
	if err != nil {
		t.Fatal(err)
	}
	proxyALPN, otherALPN := []string{upgrade.TestProtocol}, []string(nil)
	var inner *InnerError
	var login *HostError
	for _, tt := range []struct {
		name   string
		cert   tls.Certificate
		alpn   []string
		login  bool
		want   Status
		as     any   // target of errors.As
		is     error // or what it is
		proves string
	}{
		{"the proxy", host, proxyALPN, true, Passed, nil, nil, "the proxy of your cluster"},
		{"the proxy, no login", host, proxyALPN, false, Passed, nil, nil, "if the certificate is genuine"},
		{"another protocol", host, otherALPN, true, Failed, &inner, nil, "not the proxy"},
		{"another protocol, no login", host, otherALPN, false, Failed, &inner, nil, "not the proxy"},
		{"a web server", webCertificate(t), proxyALPN, false, Failed, nil, errNoHostCert, ""},
		{"a web server, login", webCertificate(t), proxyALPN, true, Failed, &login, nil, ""},
		{"another cluster", stranger, proxyALPN, true, Failed, &login, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := website(t, webCertificate(t), switches(t, &tls.Config{Certificates: []tls.Certificate{tt.cert}, NextProtos: tt.alpn}))
			r := look(t, addr, func(o *Options) {
				if !tt.login {
					o.HostCAs = nil
				}
			})
			for _, name := range []string{LegacyPing, Legacy} {
				c := r.Check(name)
				if c.Status != tt.want || tt.as != nil && !errors.As(c.Err, tt.as) || tt.is != nil && !errors.Is(c.Err, tt.is) || !strings.Contains(c.Proves, tt.proves) {
					t.Errorf("%s: %+v", name, c)
				}
			}
			if use := r.Use(Wish{Method: upgrade.Legacy}); use.Works != (tt.want == Passed) || (r.Host != nil) != use.Works {
				t.Errorf("use %+v, host certificate %v", use, r.Host)
			}
		})
	}
}

// A login vouches for a host certificate by its name, too.
func TestHostCertificateOfAnotherName(t *testing.T) {
	r := look(t, byPort(proxy(t, proxyserver.Options{}), "other.example.com"), func(o *Options) {
		loopbackOnly(o)
		o.HostCAs, o.Target.Insecure = authority().Host.Pool(), true
	})
	var login *HostError
	if c := r.Check(HostCertificate); c.Status != Failed || !errors.As(c.Err, &login) {
		t.Errorf("%+v", c)
	}
	if use := r.Use(Wish{}); use.Works || !errors.As(use.Err, &login) {
		t.Errorf("%+v", use)
	}
	// The name of the proxy's own service is in all of them, and is no proof.
	if hostName != tlsroute.AuthDomain {
		t.Errorf("hosts are looked for by %s", hostName)
	}
}
