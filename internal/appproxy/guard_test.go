package appproxy_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"tshx/internal/localproxy"
)

// status asks w with these headers.
func (w *world) status(method, host string, header http.Header) int {
	w.t.Helper()
	r, err := http.NewRequest(method, w.url("/"), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Host, r.Header = host, header
	res, err := w.client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	readAll(w.t, res.Body)
	return res.StatusCode
}

// Pages from a name of somebody else's that leads here get nothing (DNS rebinding).
func TestHosts(t *testing.T) {
	w := newWorld(t, hello, func(w *world) { w.options.Hosts = []string{"dev.example.org", "Other.example.org:99"} })
	for host, code := range map[string]int{
		"localhost": 200, "localhost:1": 200, "LOCALHOST.": 200, "127.0.0.1:80": 200, "[::1]:80": 200, "[::1]": 200, "10.1.2.3": 200,
		"web.localhost:8080": 200, "buildhost": 200, "web.proxy.example.com": 200, "WEB.proxy.example.com.:443": 200,
		"dev.example.org:8080": 200, "other.example.org": 200,
		"evil.example.com": 421, "evil.example.com:20000": 421, "localhost.evil.com": 421, "127.0.0.1.nip.io": 421, "proxy.example.com": 421,
		"notlocalhost.com": 421, "web.proxy.example.com.evil.com": 421, "127.0.0.1.": 200,
	} {
		if got := w.status("GET", host, nil); got != code {
			t.Errorf("%s: %d, want %d", host, got, code)
		}
	}
}

func TestCrossSite(t *testing.T) {
	fetch := func(site, mode, dest string) http.Header {
		return http.Header{"Sec-Fetch-Site": {site}, "Sec-Fetch-Mode": {mode}, "Sec-Fetch-Dest": {dest}}
	}
	origin := func(o string) http.Header { return http.Header{"Origin": {o}} }
	upgrade := func(h http.Header) http.Header {
		h = h.Clone()
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", "websocket")
		return h
	}
	strict, loose := newWorld(t, hello, nil), newWorld(t, hello, func(w *world) { w.options.CrossSite = true })
	for _, tt := range []struct {
		method string
		header http.Header
		code   int
	}{
		{"GET", nil, 200},
		{"POST", nil, 200}, // not a browser
		{"GET", fetch("none", "navigate", "document"), 200},
		{"POST", fetch("same-origin", "cors", "empty"), 200},
		{"POST", fetch("same-site", "no-cors", "empty"), 403}, // another port
		{"GET", fetch("same-site", "no-cors", "script"), 403},
		{"GET", upgrade(fetch("same-site", "websocket", "empty")), 403},
		{"GET", fetch("same-site", "navigate", "document"), 200},
		{"POST", http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {"http://localhost:3000"}}, 403},
		{"POST", http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {"https://web.proxy.example.com"}}, 200}, // known
		{"GET", fetch("what-comes-next", "cors", "empty"), 403},
		{"GET", fetch("cross-site", "navigate", "document"), 200}, // a link
		{"HEAD", fetch("cross-site", "navigate", "document"), 200},
		{"POST", fetch("cross-site", "navigate", "document"), 403}, // a form
		{"GET", fetch("cross-site", "navigate", "iframe"), 403},
		{"GET", fetch("cross-site", "no-cors", "image"), 403},
		{"GET", fetch("cross-site", "cors", "empty"), 403},
		{"OPTIONS", fetch("cross-site", "cors", "empty"), 403},
		{"GET", upgrade(fetch("cross-site", "websocket", "empty")), 403},
		{"GET", origin("https://evil.example.com"), 200}, // CORS keeps the answer from it
		{"POST", origin("https://evil.example.com"), 403},
		{"DELETE", origin("null"), 403},
		{"POST", origin("http://localhost"), 200},
		{"POST", origin("http://LOCALHOST"), 200},
		{"POST", origin("http://localhost:3000"), 403},
		{"POST", origin("localhost"), 403},
		{"POST", origin("http://localhost.evil.example.com"), 403},
		{"POST", origin("http://localhost@evil.example.com"), 403},
		{"POST", origin("https://web.proxy.example.com"), 200},
		{"GET", upgrade(origin("https://evil.example.com")), 403},
		{"GET", upgrade(origin("http://localhost")), 200},
	} {
		if got := strict.status(tt.method, "localhost", tt.header); got != tt.code {
			t.Errorf("%s %v: %d, want %d", tt.method, tt.header, got, tt.code)
		}
		if got := loose.status(tt.method, "localhost", tt.header); got != 200 {
			t.Errorf("%s %v let in: %d", tt.method, tt.header, got)
		}
	}
}

// The port is no forward proxy.
func TestConnectMethod(t *testing.T) {
	w := newWorld(t, unused, nil)
	if got, _ := w.ask("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\nConnection: close\r\n\r\n"); len(got) < 12 || got[9:12] != "405" {
		t.Errorf("%q", got)
	}
	if got, _ := w.ask("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"); len(got) < 12 || got[9:12] != "421" {
		t.Errorf("%q", got)
	}
}

// No page reaches a socket in the file system.
func TestSocketHosts(t *testing.T) {
	w := newWorld(t, hello, nil)
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan bool)
	go func() {
		defer close(ended)
		(&localproxy.Server{Handler: w.Proxy, Draining: func(int) { w.Proxy.Drain() }}).Serve(ctx, ln)
	}()
	defer func() { cancel(); <-ended }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://anything.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	if body := readAll(t, res.Body); fmt.Sprint(res.StatusCode, body) != "200 hello" && body != "hello" {
		t.Errorf("%s %s", res.Status, body)
	}
}
