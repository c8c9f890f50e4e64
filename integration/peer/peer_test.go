//go:build linux

package peer_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tshx/integration/peer"
)

// need skips the test where a program is missing; CI installs all of them.
func need[T any](t *testing.T, start func() (T, error)) T {
	t.Helper()
	s, err := start()
	if missing := (*peer.MissingError)(nil); errors.As(err, &missing) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFind: a program that is not there is named.
func TestFind(t *testing.T) {
	_, err := peer.Find("no-such-program")
	var missing *peer.MissingError
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("got %v", err)
	}
	if p, err := peer.Find("sh"); err != nil {
		t.Errorf("got %q, %v", p, err)
	}
}

// TestDatabasesAnswerTheirClients runs each server's own client against it.
func TestDatabasesAnswerTheirClients(t *testing.T) {
	acct := peer.Account{User: "alice", Database: "orders"}
	pg := need(t, func() (*peer.Server, error) { return peer.StartPostgres(acct) })
	defer pg.Close()
	my := need(t, func() (*peer.Server, error) { return peer.StartMariaDB(acct) })
	defer my.Close()
	rd := need(t, peer.StartRedis)
	defer rd.Close()
	host := func(addr string) (string, string) {
		h, p, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		return h, p
	}
	pgHost, pgPort := host(pg.Addr)
	myHost, myPort := host(my.Addr)
	rdHost, rdPort := host(rd.Addr)
	for name, argv := range map[string][]string{
		"psql": {"psql", "-XAt", "-h", pgHost, "-p", pgPort, "-U", acct.User, "-d", acct.Database, "-c", "select 6*7"},
		"mariadb": {"mariadb", "--no-defaults", "-N", "-h", myHost, "-P", myPort, "-u", acct.User, "-D", acct.Database,
			"-e", "select 6*7"},
		"redis-cli": {"redis-cli", "-h", rdHost, "-p", rdPort, "eval", "return 6*7", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != "42" {
				t.Errorf("%s: %q, %v", argv[0], got, err)
			}
		})
	}
}

// TestBalancers says what each balancer does to ALPN and to Upgrade headers,
// which is what the tests of tshx rely on.
func TestBalancers(t *testing.T) {
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Seen-Upgrade", r.Header.Get("Upgrade"))
		w.Header().Set("Seen-ALPN", r.TLS.NegotiatedProtocol)
	}))
	backend.StartTLS()
	t.Cleanup(backend.Close)
	b := peer.Balancer{Backend: backend.Listener.Addr().String()}
	b.Certificate, b.Key = selfSigned(t)
	strict := b
	strict.OnlyWebSocket = true
	for _, tt := range []struct {
		name  string
		start func() (*peer.Server, error)
		sent  string // Upgrade header
		seen  string
	}{
		{"nginx passes websocket", b.Nginx, "websocket", "websocket"},
		{"nginx passes others", b.Nginx, "alpn", "alpn"},
		{"strict nginx passes websocket", strict.Nginx, "websocket", "websocket"},
		{"strict nginx drops others", strict.Nginx, "alpn", ""},
		{"haproxy http", b.HAProxyHTTP, "alpn-ping", "alpn-ping"},
		{"haproxy tcp", b.HAProxyTCP, "alpn", "alpn"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := need(t, tt.start)
			defer s.Close()
			c, err := tls.Dial("tcp", s.Addr, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := c.ConnectionState().NegotiatedProtocol; got != "" {
				t.Errorf("balancer chose ALPN %q", got)
			}
			c.Close()
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.Addr, nil)
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", tt.sent)
			client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
			defer client.CloseIdleConnections()
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got := resp.Header.Get("Seen-Upgrade"); got != tt.seen {
				t.Errorf("server saw Upgrade %q, want %q", got, tt.seen)
			}
			if got := resp.Header.Get("Seen-ALPN"); got != "" {
				t.Errorf("server saw ALPN %q", got)
			}
		})
	}
}

// TestSquid connects through both listeners to a name that only Squid knows.
func TestSquid(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }))
	defer echo.Close()
	s := need(t, func() (*peer.Squid, error) {
		return peer.StartSquid(map[string]string{"echo.tshx.test": "127.0.0.1"})
	})
	defer s.Close()
	_, port, _ := net.SplitHostPort(echo.Listener.Addr().String())
	target := "echo.tshx.test:" + port
	for _, tt := range []struct {
		name, addr string
		user       *url.Userinfo
		status     string
	}{
		{"open", s.Addr, nil, "HTTP/1.1 200"},
		{"with password", s.AuthAddr, url.UserPassword(peer.SquidUser, peer.SquidPassword), "HTTP/1.1 200"},
		{"without password", s.AuthAddr, nil, "HTTP/1.1 407"},
		{"wrong password", s.AuthAddr, url.UserPassword(peer.SquidUser, "x"), "HTTP/1.1 407"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			c, err := new(net.Dialer).DialContext(ctx, "tcp", tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Host: target}, Host: target, Header: http.Header{}}
			if tt.user != nil {
				password, _ := tt.user.Password()
				req.SetBasicAuth(tt.user.Username(), password)
				req.Header["Proxy-Authorization"] = req.Header["Authorization"]
			}
			if err := req.Write(c); err != nil {
				t.Fatal(err)
			}
			status := make([]byte, len(tt.status))
			if _, err := io.ReadFull(c, status); err != nil || string(status) != tt.status {
				t.Errorf("got %q, %v; want %q", status, err, tt.status)
			}
		})
	}
}

// selfSigned returns a certificate that nothing here verifies.
func selfSigned(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk})
}
