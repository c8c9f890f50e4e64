//go:build linux

package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAppSlowReaders: clients that do not read make tshx hold a few buffers for
// each and no more. Nothing is lost, and others are served meanwhile.
func TestAppSlowReaders(t *testing.T) {
	const (
		readers = 20
		most    = 1 << 20
		alone   = 16 << 20
		size    = 16 << 20
	)
	for _, name := range []string{"raw", "websocket nginx", "legacy nginx"} {
		t.Run(name, func(t *testing.T) {
			nothingLeft(t)
			p := pick(t, appTransports, name).start(t, "proxy", "app", appFiles)
			addr := p.lineAfter("address: ")
			writeRoot(t, "slow", size)
			mustCurl(t, "-f", "-o", "/dev/null", "http://"+addr+"/slow")
			before := residentOf(t, p.cmd.Process.Pid)
			var slow []net.Conn
			for range readers {
				c := dial(t, addr)
				fmt.Fprintf(c, "GET /slow HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", addr)
				slow = append(slow, c)
			}
			standsStill(t, p)
			after := residentOf(t, p.cmd.Process.Pid)
			t.Logf("%d KiB for each slow reader", (after-before)/readers>>10)
			if after-before > alone+readers*most {
				t.Errorf("%d MiB for %d slow readers", (after-before)>>20, readers)
			}
			mustCurl(t, "-f", "-o", "/dev/null", "http://"+addr+"/slow")
			for _, c := range slow {
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				check(t, err)
				if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
					t.Errorf("%d bytes of %d, %v", n, size, err)
				}
			}
		})
	}
}

// TestAppClientLeaves: the application learns that its client has gone, and a
// body that breaks never looks complete to it.
func TestAppClientLeaves(t *testing.T) {
	for _, way := range appTransports {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			// Without the look at whose a connection is, which comes too late for some.
			p := way.get(t).start(t, "proxy", "app", appWeb, "--allow-any-local-user")
			addr := p.lineAfter("address: ")
			part := strings.Repeat("a part of it, ", 10000) // more than what is read ahead
			const body = "POST /hang?gate=%s HTTP/1.1\r\nHost: x\r\n"
			for name, tt := range map[string]struct {
				request string
				leave   func(*net.TCPConn)
			}{
				"waits, resets":          {"GET /hang?gate=%s HTTP/1.1\r\nHost: x\r\n\r\n", reset},
				"waits, closes":          {"GET /hang?gate=%s HTTP/1.1\r\nHost: x\r\n\r\n", func(c *net.TCPConn) { c.Close() }},
				"uploads, resets":        {body + "Content-Length: 1000000\r\n\r\n" + part, reset},
				"uploads, closes":        {body + "Content-Length: 1000000\r\n\r\n" + part, func(c *net.TCPConn) { c.Close() }},
				"chunks, resets":         {body + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", reset},
				"chunks, half-closes":    {body + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", func(c *net.TCPConn) { c.CloseWrite() }},
				"half a chunk, closes":   {body + "Transfer-Encoding: chunked\r\n\r\n8\r\nhalf", func(c *net.TCPConn) { c.Close() }},
				"chunks, no blank line":  {body + "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", func(c *net.TCPConn) { c.Close() }},
				"uploads, no more comes": {body + "Content-Length: 1000000\r\n\r\n" + part, func(c *net.TCPConn) { c.CloseWrite() }},
			} {
				g := newAppGate(t)
				c := dial(t, addr)
				fmt.Fprintf(c, tt.request, g.id)
				select {
				case <-g.started:
				case <-time.After(patience):
					t.Fatalf("client that %s: the application was not asked", name)
				}
				tt.leave(c)
				select {
				case err := <-g.ended:
					if err == nil || err.Error() == "the body is complete" {
						t.Errorf("client that %s: %v", name, err)
					}
				case <-time.After(patience):
					t.Errorf("client that %s: the application was not told", name)
				}
				c.Close()
			}
			mustCurl(t, "-f", "http://"+addr+"/hello")
			if said := says(p); len(said) > 0 {
				t.Errorf("clients that leave are no news: %q", said)
			}
		})
	}
}

// TestAppHost: a name that somebody else's DNS may have sent here is refused,
// unless it is allowed.
func TestAppHost(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	tr := pick(t, appTransports, "raw")
	url := tr.appURL(t, appWeb, "--allow-host", "my.example.com", "--allow-host", "other.example.com")
	for host, code := range map[string]string{
		"127.0.0.1": "200", "127.0.0.1:1": "200", "localhost": "200", "LocalHost:80": "200", "x.localhost": "200", "localhost.": "200", "[::1]:5": "200",
		"192.0.2.1": "200", "devbox": "200", "devbox:8080": "200", "web.localhost": "200",
		"my.example.com": "200", "OTHER.example.com:99": "200",
		"evil.example.com": "421", "example.com:80": "421", "xlocalhost.evil.example": "421", "localhost.evil.example": "421",
		"127.0.0.1.nip.example": "421", "a.my.example.com": "421", "web.localhost.evil.example": "421",
	} {
		out := mustCurl(t, "-H", "Host: "+host, "-w", "|%{http_code}", url+"/hello")
		if body, got, _ := strings.Cut(out, "|"); got != code {
			t.Errorf("%s: %s, want %s", host, got, code)
		} else if code == "421" && (!strings.Contains(body, "--allow-host") || strings.Contains(body, "hello")) {
			t.Errorf("%s: %q", host, body)
		}
	}
}

// TestAppCrossSite: what another site's page makes a browser send is refused, but
// for following a link.
func TestAppCrossSite(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	tr := pick(t, appTransports, "raw")
	strict, open := tr.appURL(t, appWeb), tr.appURL(t, appWeb, "--allow-cross-site")
	upgrade := []string{"-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for _, tt := range []struct {
		name    string
		args    []string
		refused bool
	}{
		{"program", nil, false},
		{"program that writes", []string{"-d", "x"}, false},
		{"typed", []string{"-H", "Sec-Fetch-Site: none", "-H", "Sec-Fetch-Mode: navigate", "-H", "Sec-Fetch-Dest: document"}, false},
		{"own page", []string{"-H", "Sec-Fetch-Site: same-origin", "-H", "Origin: ORIGIN", "-d", "x"}, false},
		{"link", []string{"-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Mode: navigate", "-H", "Sec-Fetch-Dest: document", "-H", "Sec-Fetch-User: ?1"}, false},
		{"image", []string{"-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Mode: no-cors", "-H", "Sec-Fetch-Dest: image"}, true},
		{"frame", []string{"-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Mode: navigate", "-H", "Sec-Fetch-Dest: iframe"}, true},
		{"script", []string{"-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Mode: cors", "-H", "Origin: https://evil.example"}, true},
		{"form", []string{"-H", "Sec-Fetch-Site: cross-site", "-H", "Sec-Fetch-Mode: navigate", "-H", "Sec-Fetch-Dest: document", "-H", "Origin: https://evil.example", "-d", "x"}, true},
		{"form of an old browser", []string{"-H", "Origin: https://evil.example", "-d", "x"}, true},
		{"form of nobody", []string{"-H", "Origin: null", "-d", "x"}, true},
		{"preflight", []string{"-X", "OPTIONS", "-H", "Origin: https://evil.example", "-H", "Access-Control-Request-Method: PUT"}, true},
		{"page of another port", []string{"-H", "Sec-Fetch-Site: same-site", "-H", "Sec-Fetch-Mode: no-cors", "-H", "Origin: http://127.0.0.1:1", "-d", "x"}, true},
		{"page of another port in an old browser", []string{"-H", "Origin: http://127.0.0.1:1", "-d", "x"}, true},
		{"own page in an old browser", []string{"-H", "Origin: ORIGIN", "-d", "x"}, false},
		{"websocket", append([]string{"-H", "Origin: https://evil.example"}, upgrade...), true},
	} {
		for _, url := range []string{strict, open} {
			args := append([]string{"-w", "|%{http_code}"}, url+"/hello")
			for _, arg := range tt.args {
				args = append(args, strings.ReplaceAll(arg, "ORIGIN", url))
			}
			out := mustCurl(t, args...)
			if body, code, _ := strings.Cut(out, "|"); (code == "403") != (tt.refused && url == strict) || code == "403" && !strings.Contains(body, "--allow-cross-site") {
				t.Errorf("%s, allowed %t: %q", tt.name, url == open, out)
			}
		}
	}
}

// writeRoot makes nginx have a file of n bytes.
func writeRoot(t testing.TB, name string, n int64) {
	t.Helper()
	f, err := os.Create(filepath.Join(webdav.get(t).Root, name))
	check(t, err)
	defer f.Close()
	_, err = sendNoise(f, n)
	check(t, err)
	check(t, f.Chmod(0o644))
}
