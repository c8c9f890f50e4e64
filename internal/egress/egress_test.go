package egress

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tshx/internal/conn"
)

const addr = "proxy.example.com:443"

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve runs f for each connection and waits for all of them at the end.
func serve(t *testing.T, f func(c net.Conn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

// reply waits for the end of what the client says and repeats it, which shows
// a half-close that went through.
func reply(c net.Conn) {
	b, _ := io.ReadAll(c)
	c.Write(append([]byte("got "), b...))
}

// converse is the client of reply.
func converse(t *testing.T, c net.Conn, early string) {
	t.Helper()
	defer c.Close()
	io.WriteString(c, "hello")
	must(t, conn.CloseWrite(c))
	if _, ok := c.(conn.CloseWriter); !ok {
		t.Errorf("%T cannot half-close", c)
	}
	if got, err := io.ReadAll(c); string(got) != early+"got hello" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// connectProxy answers CONNECT with answer and then is the target itself.
func connectProxy(t *testing.T, requests chan<- *http.Request, answer string) func(net.Conn) {
	return func(c net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		requests <- r
		io.WriteString(c, answer)
		reply(c)
		if tc, ok := c.(*tls.Conn); ok {
			tc.CloseWrite()
		}
	}
}

var testCert = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "forward proxy"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
})

func TestDirect(t *testing.T) {
	c, err := (&Dialer{Getenv: env("HTTPS_PROXY", "http://127.0.0.1:1")}).DialContext(t.Context(), "tcp", serve(t, reply))
	must(t, err)
	converse(t, c, "")
}

func TestHTTPProxy(t *testing.T) {
	for name, tc := range map[string]struct{ user, answer, auth, early string }{
		"plain":          {"", "HTTP/1.1 200 OK\r\n\r\n", "", ""},
		"early bytes":    {"", "HTTP/1.0 200 Connection established\r\n\r\nearly", "", "early"},
		"with a length":  {"", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "", "abc"}, // RFC 9110, section 9.3.6
		"credentials":    {"al%40ice:p%3Aw@", "HTTP/1.1 200 OK\r\n\r\n", "Basic YWxAaWNlOnA6dw==", ""},
		"empty password": {"alice@", "HTTP/1.1 200 OK\r\n\r\n", "Basic YWxpY2U6", ""},
	} {
		t.Run(name, func(t *testing.T) {
			requests := make(chan *http.Request, 1)
			at := serve(t, connectProxy(t, requests, tc.answer))
			d := &Dialer{Getenv: env("HTTPS_PROXY", "http://"+tc.user+at)}
			c, err := d.DialContext(t.Context(), "tcp", addr)
			must(t, err)
			converse(t, c, tc.early)
			r := <-requests
			if r.Method != "CONNECT" || r.RequestURI != addr || r.Host != addr || r.Header.Get("Proxy-Authorization") != tc.auth {
				t.Errorf("%s %s, Host %s, %v", r.Method, r.RequestURI, r.Host, r.Header)
			}
		})
	}
}

func TestHTTPSProxy(t *testing.T) {
	cert, pool := testCert()
	requests := make(chan *http.Request, 1)
	at := serve(t, func(c net.Conn) {
		connectProxy(t, requests, "HTTP/1.1 200 OK\r\n\r\nearly")(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}))
	})
	_, port, _ := net.SplitHostPort(at)
	good := env("https_proxy", "https://"+at)
	for name, tc := range map[string]struct {
		d  Dialer
		ok bool
	}{
		"own roots":   {Dialer{Getenv: good, Roots: pool}, true},
		"insecure":    {Dialer{Getenv: good, Insecure: true}, true},
		"system only": {Dialer{Getenv: good}, false},
		"other roots": {Dialer{Getenv: good, Roots: x509.NewCertPool()}, false},
		"other name":  {Dialer{Getenv: env("https_proxy", "https://localhost:"+port), Roots: pool}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tc.d.DialContext(t.Context(), "tcp", addr)
			if !tc.ok {
				ce, ok := errors.AsType[*tls.CertificateVerificationError](err)
				if !ok || len(ce.UnverifiedCertificates) != 1 {
					t.Errorf("got %v", err)
				}
				return
			}
			must(t, err)
			converse(t, c, "early")
			<-requests
		})
	}
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct{ answer, text, hint string }{
		{"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "CONNECT was answered 407 Proxy Authentication Required", "set HTTPS_PROXY to http://user:password@127.0.0.1:"},
		{"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden", "forbid CONNECT to " + addr},
		{"HTTP/1.1 502 Bad Gate\x1bway\r\n\r\n", "502 Bad Gate way", "cannot reach " + addr},
		{"HTTP/1.1 405 Method Not Allowed\r\n\r\n", "405 Method", "may not be a proxy"},
		{"HTTP/1.1 204 No Content\r\n\r\n", "204 No Content", "may not be a proxy"},
		{"HTTP/1.1 302 " + strings.Repeat("x", 300) + "\r\n\r\n", "xxx...", "may not be a proxy"},
		{"", "without an answer", "check HTTPS_PROXY"},
		{"SSH-2.0-x\r\n", "malformed", "check HTTPS_PROXY"},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 20_000), errLongAnswer.Error(), "check HTTPS_PROXY"},
	} {
		at := serve(t, func(c net.Conn) {
			http.ReadRequest(bufio.NewReader(c))
			io.WriteString(c, tc.answer)
			conn.CloseWrite(c)
			io.Copy(io.Discard, c) // until the client has closed, or the test hangs
		})
		d := &Dialer{Getenv: env("HTTPS_PROXY", "http://alice:secret@"+at)}
		c, err := d.DialContext(t.Context(), "tcp", addr)
		pe, ok := errors.AsType[*ProxyError](err)
		if c != nil || !ok {
			t.Fatalf("got %v, %v", c, err)
		}
		text := err.Error()
		if !strings.Contains(text, "http://"+at) || !strings.Contains(text, tc.text) || !strings.Contains(pe.Hint(), tc.hint) {
			t.Errorf("error %q, hint %q", text, pe.Hint())
		}
		if both := text + pe.Hint(); strings.Contains(both, "secret") || strings.Contains(both, "alice") || strings.ContainsAny(both, "\n\x1b") || len(text) > 300 {
			t.Errorf("error %q, hint %q", text, pe.Hint())
		}
	}
}

func TestProxyDown(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	at := ln.Addr().String()
	ln.Close()
	for _, scheme := range []string{"http", "https", "socks5"} {
		d := &Dialer{Getenv: env("HTTPS_PROXY", scheme+"://alice:secret@"+at)}
		_, err := d.DialContext(t.Context(), "tcp", addr)
		pe, ok := errors.AsType[*ProxyError](err)
		if !ok || pe.Status != 0 || !strings.Contains(err.Error(), scheme+"://"+at) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

// TestCancel ends the context while the proxy is silent; serve sees the
// connection end.
func TestCancel(t *testing.T) {
	for _, scheme := range []string{"http", "https", "socks5"} {
		ctx, cancel := context.WithCancel(t.Context())
		at := serve(t, func(c net.Conn) {
			c.Read(make([]byte, 1))
			cancel()
			io.Copy(io.Discard, c)
		})
		d := &Dialer{Getenv: env("HTTPS_PROXY", scheme+"://"+at)}
		c, err := d.DialContext(ctx, "tcp", addr)
		if c != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, %v", scheme, c, err)
		}
	}
}

func TestDeadline(t *testing.T) {
	for _, scheme := range []string{"http", "https", "socks5"} {
		at := serve(t, func(c net.Conn) { io.Copy(io.Discard, c) })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		d := &Dialer{Getenv: env("HTTPS_PROXY", scheme+"://"+at)}
		_, err := d.DialContext(ctx, "tcp", addr)
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Timeout() {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

// TestOutlivesDial checks that neither the context nor the bound of the dial
// touches the connection later.
func TestOutlivesDial(t *testing.T) {
	requests := make(chan *http.Request, 1)
	at := serve(t, connectProxy(t, requests, "HTTP/1.1 200 OK\r\n\r\n"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	c, err := (&Dialer{Getenv: env("HTTPS_PROXY", at)}).DialContext(ctx, "tcp", addr)
	must(t, err)
	cancel()
	converse(t, c, "")
}
