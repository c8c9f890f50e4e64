package kubeproxy_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tshx/internal/kubeproxy"
	"tshx/internal/localproxy"
)

func unused(http.ResponseWriter, *http.Request) { panic("a request got through") }

func TestForwardProxy(t *testing.T) {
	elsewhere := listen(t)
	defer elsewhere.Close()
	w := newWorld(t, unused, nil)
	for _, tt := range []struct {
		name, send string
		code       int
	}{
		{"cluster", "CONNECT proxy.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"other case, dot", "CONNECT Proxy.Example.com.:443 HTTP/1.0\r\n\r\n", 200},
		{"elsewhere", "CONNECT " + elsewhere.Addr().String() + " HTTP/1.1\r\nHost: proxy.example.com:443\r\n\r\n", 403},
		{"other port", "CONNECT proxy.example.com:80 HTTP/1.1\r\nHost: proxy.example.com:443\r\n\r\n", 403},
		{"itself", "CONNECT " + w.Addr + " HTTP/1.1\r\nHost: x\r\n\r\n", 403},
		{"path", "CONNECT /proxy.example.com:443 HTTP/1.1\r\nHost: proxy.example.com:443\r\n\r\n", 400},
		{"get", "GET http://proxy.example.com:443/ HTTP/1.1\r\nHost: proxy.example.com:443\r\n\r\n", 400},
		{"post with a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 400},
		{"not HTTP", "\x16\x03\x01\x00\x05hello\r\n\r\n", 400},
		{"endless head", "CONNECT proxy.example.com:443 HTTP/1.1\r\nA: " + strings.Repeat("a", 70<<10) + "\r\n\r\n", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("tcp", w.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, tt.send)
			res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "GET"})
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != tt.code {
				t.Errorf("got %s", res.Status)
			}
			if tt.code == 200 {
				return
			}
			body := readAll(t, res.Body)
			line, rest, _ := strings.Cut(body, "\n")
			if line == "" || rest != "" || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
				t.Errorf("answered %q, %v", body, res.Header)
			}
			if !strings.HasSuffix(res.Status, line) {
				t.Errorf("clients that show the status show %q", res.Status)
			}
		})
	}
}

// Another local user may reach the port, but has no certificate.
func TestNoClientCertificate(t *testing.T) {
	w := newWorld(t, unused, nil)
	foreign := newWorld(t, unused, nil)
	for name, change := range map[string]func(*tls.Config){
		"none":           func(c *tls.Config) { c.Certificates = nil },
		"of another run": func(c *tls.Config) { c.Certificates = foreign.clientTLS().Certificates },
		"of the login":   func(c *tls.Config) { c.Certificates = []tls.Certificate{*w.cert.Load()} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := w.clientTLS()
			change(cfg)
			c := &http.Client{Transport: &http.Transport{
				Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: w.Addr}), TLSClientConfig: cfg,
			}}
			res, err := c.Get(w.Proxy.URL(0) + "/api")
			if err == nil {
				t.Fatalf("answered %s", res.Status)
			}
			if op := (*net.OpError)(nil); !errors.As(err, &op) || op.Op != "remote error" {
				t.Errorf("%v is no alert", err)
			}
		})
	}
}

// A client may send its ClientHello right behind the CONNECT, as some do.
func TestEarlyHello(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "hello") }, nil)
	c, err := net.Dial("tcp", w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tc := tls.Client(&eager{Conn: c, first: "CONNECT proxy.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", skip: "\r\n\r\n"}, w.clientTLS())
	r, _ := http.NewRequest("GET", w.Proxy.URL(0)+"/x", nil)
	if err := r.Write(tc); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(tc), r)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "hello" {
		t.Errorf("%q, %v", buf, err)
	}
}

// eager writes first together with the first write, and reads on behind skip.
type eager struct {
	net.Conn
	first, skip string
}

func (e *eager) Write(b []byte) (int, error) {
	first := e.first
	e.first = ""
	n, err := e.Conn.Write(append([]byte(first), b...))
	return max(0, n-len(first)), err
}

func (e *eager) Read(b []byte) (int, error) {
	for seen := ""; e.skip != ""; {
		one := make([]byte, 1)
		if _, err := e.Conn.Read(one); err != nil {
			return 0, err
		}
		if seen += string(one); strings.HasSuffix(seen, e.skip) {
			e.skip = ""
		}
	}
	return e.Conn.Read(b)
}

func TestHooks(t *testing.T) {
	opened := make(chan localproxy.Connection, 2)
	closed := make(chan localproxy.End, 2)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "hello") }, func(w *world) {
		w.options.Opened = func(c localproxy.Connection) { opened <- c }
		w.options.Closed = func(_ localproxy.Connection, e localproxy.End) { closed <- e }
	})
	client := w.client(true)
	if code, body := w.get(client, "/x"); code != 200 || body != "hello" {
		t.Fatalf("%d %s", code, body)
	}
	if c := <-opened; c.ID != 1 || c.Client == nil {
		t.Errorf("opened %+v", c)
	}
	client.CloseIdleConnections()
	if e := <-closed; e.Reason != localproxy.EOF || e.Err != nil || e.Sent == 0 || e.Received == 0 || e.Duration == 0 {
		t.Errorf("closed %+v", e)
	}
	c, err := net.Dial("tcp", w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
	io.Copy(io.Discard, c)
	c.Close()
	if e := <-closed; e.Reason != localproxy.Refused || e.Err == nil {
		t.Errorf("closed %+v", e)
	}
	c, err = net.Dial("tcp", w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if e := <-closed; e.Reason != localproxy.ClientGone {
		t.Errorf("closed %+v", e)
	}
}

func TestBadClusters(t *testing.T) {
	for name, list := range map[string][]kubeproxy.Cluster{
		"twice":      {{Teleport: "t", Name: "k", Addr: "a:1"}, {Teleport: "t", Name: "k", Addr: "b:1"}},
		"no name":    {{Teleport: "t", Addr: "a:1"}},
		"no address": {{Teleport: "t", Name: "k"}},
		"a URL":      {{Teleport: "t", Name: "k", Addr: "https://a:1"}},
	} {
		if _, err := kubeproxy.New(kubeproxy.Options{Clusters: list}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
