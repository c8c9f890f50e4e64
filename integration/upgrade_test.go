//go:build linux

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// surveyed is what the tests read of `upgrade test --format json`.
type surveyed struct {
	Schema    int
	HTTPProxy string `json:"http_proxy"`
	Login     string
	Checks    []struct {
		Name, Status, Result, Error, Proves string
		Took                                *float64 `json:"took_ms"`
	}
	Balancer struct {
		Found    bool
		Server   string
		Evidence []string
	}
	Use struct {
		Works     bool
		Way       string
		DecidedBy string `json:"decided_by"`
		Error     string
	}
	Advice []string
}

// failed lists the checks that failed.
func (s *surveyed) failed() (list []string) {
	for _, c := range s.Checks {
		if c.Status == "failed" {
			list = append(list, c.Name)
		}
	}
	return list
}

// upgradeTest runs `tshx upgrade test` and checks that it ends as its report says.
func upgradeTest(t testing.TB, o options, args ...string) *surveyed {
	t.Helper()
	p := launch(t, o, slices.Concat([]string{tshxPath}, args, []string{"--format", "json"})...)
	code := p.wait()
	var s surveyed
	if err := json.Unmarshal([]byte(p.stdout.String()), &s); err != nil {
		t.Fatalf("exit code %d, %v: %s%s", code, err, p.stdout.String(), p.stderr.String())
	}
	if want := map[bool]int{true: 0, false: codeFailure}[s.Use.Works]; code != want {
		t.Errorf("exit code %d, want %d", code, want)
	}
	return &s
}

// noLogin is the environment of somebody who has only heard of the proxy.
func noLogin(t testing.TB, c *cluster) options {
	return options{env: []string{"HOME=" + t.TempDir(), "TSHX_CA_FILE=" + c.caFile}}
}

// TestUpgradeTest: what stands in front of the proxy is found out, with and without
// a login, and what tshx does then is what was said.
func TestUpgradeTest(t *testing.T) {
	ws := []string{"websocket_alpn_ping", "websocket_alpn"}
	all := slices.Concat(ws, []string{"legacy_alpn_ping", "legacy_alpn"})
	lost := func(more ...string) []string { return slices.Concat([]string{"raw"}, more) }
	front := func(change func(*peer.Balancer), start func(peer.Balancer) (*peer.Server, error)) func(peer.Balancer) (*peer.Server, error) {
		return func(b peer.Balancer) (*peer.Server, error) {
			change(&b)
			return start(b)
		}
	}
	for _, tt := range []struct {
		name    string
		cluster *shared[*cluster]
		front   func(peer.Balancer) (*peer.Server, error)
		failed  []string
		way     string
		works   bool
		server  string // in the Server header
		advice  string
	}{
		{"direct v17", modern, nil, nil, "raw", true, "", "nothing has to change"},
		{"direct v14", old, nil, ws, "raw", true, "", "nothing has to change"},
		{"nginx", modern, peer.Balancer.Nginx, lost(), "websocket", true, "nginx", "nothing has to change"},
		{"nginx with h2", modern, front(func(b *peer.Balancer) { b.HTTP2 = true }, peer.Balancer.Nginx), lost(), "websocket", true, "nginx", "nothing has to change"},
		{"nginx, v14", old, peer.Balancer.Nginx, lost(ws...), "legacy", true, "nginx", "the proxy knows no WebSocket upgrade"},
		// New proxies look at X-Teleport-Upgrade too, which passes.
		{"nginx without Upgrade", modern, front(func(b *peer.Balancer) { b.NoUpgrade = true }, peer.Balancer.Nginx),
			lost(ws...), "legacy", true, "nginx", "proxy_set_header Upgrade"},
		{"nginx without Upgrade, v14", old, front(func(b *peer.Balancer) { b.NoUpgrade = true }, peer.Balancer.Nginx),
			lost(all...), "upgrade", false, "nginx", "proxy_set_header Upgrade"},
		{"nginx, websocket only", modern, strictNginx, lost(), "websocket", true, "nginx", "nothing has to change"},
		{"nginx, websocket only, v14", old, strictNginx, lost(all...), "upgrade", false, "nginx", "too old for WebSocket"},
		{"nginx, layer 4", modern, peer.Balancer.NginxStream, nil, "raw", true, "", "nothing has to change"},
		{"haproxy http", modern, peer.Balancer.HAProxyHTTP, lost(), "websocket", true, "", "nothing has to change"},
		{"haproxy http, v14", old, peer.Balancer.HAProxyHTTP, lost(ws...), "legacy", true, "", "the proxy knows no WebSocket upgrade"},
		{"haproxy tcp", modern, peer.Balancer.HAProxyTCP, lost(), "websocket", true, "", "nothing has to change"},
		{"haproxy passes", modern, peer.Balancer.HAProxyPass, nil, "raw", true, "", "nothing has to change"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			c := tt.cluster.get(t)
			addr := c.direct
			if tt.front != nil {
				b, err := c.balancer(c.direct)
				check(t, err)
				s, err := tt.front(b)
				check(t, err)
				t.Cleanup(s.Close)
				addr = s.Addr
			}
			tr, err := c.login(at("localhost", addr), lab.HomeOptions{})
			check(t, err)
			for _, o := range []options{tr.options(), noLogin(t, c)} {
				s := upgradeTest(t, o, "upgrade", "test", tr.addr)
				if got := s.failed(); !slices.Equal(got, tt.failed) {
					t.Errorf("failed: %v, want %v: %+v", got, tt.failed, s.Checks)
				}
				if s.Use.Way != tt.way || s.Use.Works != tt.works || s.Use.DecidedBy != "test" {
					t.Errorf("use %+v, want %s, works: %v", s.Use, tt.way, tt.works)
				}
				if s.Balancer.Found != slices.Contains(tt.failed, "raw") || !strings.HasPrefix(s.Balancer.Server, tt.server) || (tt.server == "") != (s.Balancer.Server == "") {
					t.Errorf("balancer %+v", s.Balancer)
				}
				if len(s.Advice) == 0 || !strings.Contains(strings.Join(s.Advice, "; "), tt.advice) {
					t.Errorf("advice %q, want %q", s.Advice, tt.advice)
				}
			}
			// The same by doing it.
			p := launch(t, tr.options(), tshxPath, "proxy", "ssh", osUser()+"@node1:3022")
			code := p.wait()
			if got := code == 0 && strings.HasPrefix(p.stdout.String(), "SSH-2.0-"); got != tt.works {
				t.Errorf("works: %v, want %v (exit code %d, %s)", got, tt.works, code, p.stderr.String())
			}
			if !tt.works {
				return
			}
			if got := transportOf(t, tr); got != tt.way {
				t.Errorf("tshx took %q, and %q was announced", got, tt.way)
			}
		})
	}
}

// transportOf returns the way that tshx remembers: raw or the upgrade's method.
func transportOf(t testing.TB, tr *transport) string {
	t.Helper()
	var status struct {
		Active struct {
			Transport struct{ Way, Method string }
		}
	}
	text := execute(t, tr.options(), tshxPath, "status", "--format", "json")
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatal(err)
	}
	if got := status.Active.Transport; got.Way == "raw" {
		return "raw"
	} else {
		return got.Method
	}
}

// TestUpgradeTestSquid: the HTTP proxy of the environment is on the way, and is
// named when it says no; its password is not.
func TestUpgradeTestSquid(t *testing.T) {
	need(t, "squid", "basic_ncsa_auth")
	c, s := modern.get(t), squid.get(t)
	for _, tt := range []struct {
		name, addr string
		user       *url.Userinfo
		works      bool
		says       string
	}{
		{"open", s.Addr, nil, true, "nothing has to change"},
		{"password", s.AuthAddr, url.UserPassword(peer.SquidUser, peer.SquidPassword), true, "nothing has to change"},
		{"no password", s.AuthAddr, nil, false, "credentials"},
		{"wrong password", s.AuthAddr, url.UserPassword(peer.SquidUser, "wr0ng"), false, "credentials"},
		{"down", closedPort(t), nil, false, "HTTPS_PROXY"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := noLogin(t, c)
			via := url.URL{Scheme: "http", Host: tt.addr, User: tt.user}
			o.env = append(o.env, "HTTPS_PROXY="+via.String())
			got := upgradeTest(t, o, "upgrade", "test", at(squidName, c.named))
			if got.HTTPProxy != "http://"+tt.addr || got.Use.Works != tt.works {
				t.Errorf("%+v", got)
			}
			if dns := got.Checks[0]; dns.Name != "dns" || dns.Status != "skipped" {
				t.Errorf("%+v: the name is Squid's to look up", dns)
			}
			if !strings.Contains(strings.Join(got.Advice, "; "), tt.says) {
				t.Errorf("advice %q, want %q", got.Advice, tt.says)
			}
			if text := execText(t, o, at(squidName, c.named)); strings.Contains(text, "wr0ng") || strings.Contains(text, peer.SquidPassword) {
				t.Errorf("a password in\n%s", text)
			}
		})
	}
}

// execText returns all that the text form prints.
func execText(t testing.TB, o options, addr string) string {
	t.Helper()
	p := launch(t, o, tshxPath, "upgrade", "test", addr)
	p.wait()
	return p.stdout.String() + p.stderr.String()
}

// TestUpgradeTestPings: the first ping is waited for if that is asked, by each
// method that works.
func TestUpgradeTestPings(t *testing.T) {
	for release, want := range map[string][2]string{"v14": {"skipped", "passed"}, "v17": {"passed", "passed"}} {
		c := pinging[release].get(t)
		b, err := c.balancer(c.direct)
		check(t, err)
		s, err := b.Nginx()
		check(t, err)
		t.Cleanup(s.Close)
		got := upgradeTest(t, noLogin(t, c), "upgrade", "test", "--wait-ping", at("localhost", s.Addr)).Checks
		for i, check := range got[len(got)-2:] {
			if check.Status != want[i] || (want[i] == "passed") != strings.HasPrefix(check.Result, "first ping after") {
				t.Errorf("%s: %+v, want %s", release, check, want[i])
			}
		}
	}
}

// TestUpgradeTestInterrupted: a signal ends it at once, whatever it waits for.
func TestUpgradeTestInterrupted(t *testing.T) {
	nothingLeft(t)
	came := make(chan bool, 1)
	addr := serve(t, func(c *net.TCPConn) {
		t.Cleanup(func() { c.Close() })
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			came <- true
		}
	})
	p := launch(t, options{}, tshxPath, "upgrade", "test", addr)
	<-came
	p.signal(syscall.SIGINT)
	if code := p.wait(); code != codeInterrupted || p.stdout.String() != "" {
		t.Errorf("exit code %d, %q", code, p.stdout.String())
	}
}

// TestUpgradeTestMistakes: what is at the address is no proxy, or not a good one.
func TestUpgradeTestMistakes(t *testing.T) {
	c := modern.get(t)
	hour := time.Hour
	expired, _ := selfSigned(t, "localhost", -hour)
	foreign, foreignCA := selfSigned(t, "other.example.com", hour)
	for _, tt := range []struct {
		name, addr string
		flags      []string
		last       string // check that failed first
		says       string
	}{
		{"closed port", closedPort(t), nil, "tcp", "is the proxy up"},
		{"no such name", "nosuch.invalid", nil, "dns", "check the name"},
		{"plain http", serve(t, func(raw *net.TCPConn) {
			defer raw.Close()
			raw.Read(make([]byte, 1024))
			io.WriteString(raw, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		}), nil, "tls", "the port of https"},
		{"ssh", serve(t, func(raw *net.TCPConn) {
			defer raw.Close()
			io.WriteString(raw, "SSH-2.0-OpenSSH_9.2\r\n")
			io.Copy(io.Discard, raw)
		}), nil, "tls", ""},
		{"expired", tlsServer(t, expired), nil, "tls", "has to be renewed there"},
		{"wrong name", at("localhost", tlsServer(t, foreign)), []string{"--ca-file", foreignCA}, "tls", "check the address"},
		{"wrong name, insecure", at("localhost", tlsServer(t, foreign)), []string{"--insecure"}, "raw", "nothing here is an access proxy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			s := upgradeTest(t, noLogin(t, c), slices.Concat(tt.flags, []string{"upgrade", "test", tt.addr})...)
			if got := s.failed(); len(got) == 0 || got[0] != tt.last || s.Use.Works {
				t.Errorf("failed %v, want %s first; %+v", got, tt.last, s.Use)
			}
			if !strings.Contains(strings.Join(s.Advice, "; "), tt.says) {
				t.Errorf("advice %q, want %q", s.Advice, tt.says)
			}
		})
	}
}

// selfSigned returns a certificate for a name that ends so long from now, and the
// file that has it.
func selfSigned(t testing.TB, name string, ends time.Duration) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(ends), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	check(t, err)
	path := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// tlsServer does TLS and says nothing in it.
func tlsServer(t testing.TB, cert tls.Certificate) string {
	return serve(t, func(raw *net.TCPConn) {
		c := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}})
		defer c.Close()
		c.Read(make([]byte, 1024))
	})
}
