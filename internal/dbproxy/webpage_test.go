package dbproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tshx/internal/tlsroute"
)

func TestJudgePage(t *testing.T) {
	const address, name = "Host: 127.0.0.1:9200\r\n", "Host: localhost:9200\r\n"
	for _, tt := range []struct {
		name, fields, header string // header: empty if it gets through
	}{
		{"curl", address, ""},
		{"IPv6", "Host: [::1]:9200\r\n", ""},
		{"IPv6 without a port", "Host: [::1]\r\n", ""},
		{"localhost", name, ""},
		{"capitals", "host:LOCALHOST\r\n", ""},
		{"below localhost", "Host: es.localhost:9200\r\n", ""},
		{"localhost with a dot", "Host: localhost.:9200\r\n", ""},
		{"a name without a dot", "Host: box:9200\r\n", ""},
		{"no host", "Accept: */*\r\n", ""},
		{"the address bar", address + "Sec-Fetch-Site: none\r\n", ""},
		{"its own page", name + "Origin: http://localhost:9200\r\nSec-Fetch-Site: same-origin\r\n", ""},
		{"a rebound name", "Host: evil.example.com:9200\r\n", "Host"},
		{"a rebound name without a port", "Accept: */*\r\nHost: evil.example.com\r\n", "Host"},
		{"no longer localhost", "Host: localhost.example.com\r\n", "Host"},
		{"the second host", address + "Host: evil.example.com\r\n", "Host"},
		{"a top level", "Host: evil.:9200\r\n", "Host"},
		{"another origin", address + "Origin: https://evil.example.com\r\n", "Origin"},
		{"another port", name + "Origin: http://localhost:3000\r\n", "Origin"},
		{"a sandbox", address + "ORIGIN : null\r\n", "Origin"},
		{"an extension", name + "Origin: chrome-extension://abcdef\r\n", "Origin"},
		{"a link", address + "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n", "Sec-Fetch-Site"},
		{"a neighbour", name + "sec-fetch-site: same-site\r\n", "Sec-Fetch-Site"},
	} {
		first := []byte("POST /_search HTTP/1.1\r\n" + tt.fields + "\r\nHost: in.the.body\r\n")
		_, local := net.Pipe()
		for _, e := range engines {
			up := &Upstream{Engine: e, Tunnel: true, Database: "orders"}
			err := up.judgePage(local, first)
			page, ok := errors.AsType[*WebPageError](err)
			if want := e.Web && tt.header != ""; ok != want || ok && (page.Header != tt.header || page.Hint() == "") {
				t.Errorf("%s, %s: %v", e.Title, tt.name, err)
			}
			for _, open := range []*Upstream{{Engine: e}, {Engine: e, Tunnel: true, AnyPage: true}} {
				if err := open.judgePage(local, first); err != nil {
					t.Errorf("%s, %s: %v although all may", e.Title, tt.name, err)
				}
			}
		}
		local.Close()
	}
}

// TestWebPageRefused: a page gets status 403 in the form of the engine, and the
// dial for it ends; requests that come in pieces are judged all the same.
func TestWebPageRefused(t *testing.T) {
	head := "GET /" + strings.Repeat("a", 3*lookBytes) + " HTTP/1.1\r\nHost: evil.example.com\r\n\r\n"
	for _, e := range engines {
		if !e.Web {
			continue
		}
		at, errs := misled(t, &Upstream{Engine: e, Tunnel: true, Dialer: dialFunc(slow)})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at.Addr()+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "evil.example.com"
		resp, body := getRefused(t, req)
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "--allow-web-pages") {
			t.Errorf("%s: status %d, %s", e.Title, resp.StatusCode, body)
		}
		if _, ok := errors.AsType[*WebPageError](<-errs); !ok {
			t.Errorf("%s: no error of its own", e.Title)
		}
		c, err := net.Dial("tcp", at.Addr())
		if err != nil {
			t.Fatal(err)
		}
		for len(head) > 0 {
			n := min(len(head), lookBytes/2)
			io.WriteString(c, head[:n])
			head = head[n:]
		}
		if answer, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 403 ") {
			t.Errorf("%s: in pieces: %q, %v", e.Title, answer, err)
		}
		c.Close()
		head = "GET / HTTP/1.1\r\nX: y\r\nHost: evil.example.com\r\n\r\n"
		<-errs
	}
}

// TestWebPageLookEnds: half a head keeps nobody waiting for longer than the
// look, a head without an end is refused.
func TestWebPageLookEnds(t *testing.T) {
	for first, refused := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: localhost\r\n":                       false,
		"GET / HTTP/1.1\r\nHost: evil.example.com\r\nAcc":             true,
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("a", httpHead+1):     true,
		"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n{\"half\":\"a bod": false,
	} {
		synctest.Test(t, func(t *testing.T) {
			client, local := net.Pipe()
			go client.Write([]byte(first))
			up := &Upstream{Engine: &elasticsearch, Tunnel: true, Dialer: dialFunc(func(ctx context.Context, r tlsroute.Route) (net.Conn, error) {
				return silent(ctx, r)
			})}
			_, remote, err := up.Dial(t.Context(), local)
			if _, ok := errors.AsType[*WebPageError](err); ok != refused || (err == nil) == refused {
				t.Errorf("%.60q: %v", first, err)
			}
			if err == nil {
				remote.Close()
			}
			client.Close()
			local.Close()
		})
	}
}

// What cannot be a request is not waited for.
func TestWebPageLookAtOthers(t *testing.T) {
	for _, first := range []string{"\x00\x11ClickHouse client", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"} {
		synctest.Test(t, func(t *testing.T) {
			client, local := net.Pipe()
			defer client.Close()
			defer local.Close()
			go client.Write([]byte(first))
			local.SetDeadline(time.Now().Add(time.Minute))
			start := time.Now()
			up := &Upstream{Engine: &clickhouseHTTP, Tunnel: true}
			got, err := up.words(local)
			if string(got) != first || err != nil || time.Since(start) > 0 {
				t.Errorf("%q, %v after %v", got, err, time.Since(start))
			}
		})
	}
}
