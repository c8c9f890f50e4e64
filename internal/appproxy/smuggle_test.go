package appproxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestSmuggling: what two servers could take for different requests is refused, or
// arrives in the one form that means the same to all (RFC 9112, section 11.2).
func TestSmuggling(t *testing.T) {
	type seen struct{ head, body string }
	got := make(chan seen, 10)
	w := newWorld(t, unused, func(w *world) {
		w.raw = func(c net.Conn) {
			br := bufio.NewReader(c)
			var head strings.Builder
			for line := ""; line != "\r\n"; head.WriteString(line) {
				var err error
				if line, err = br.ReadString('\n'); err != nil {
					return
				}
			}
			r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head.String()), br)))
			if err != nil {
				t.Error(err)
				return
			}
			body, _ := io.ReadAll(r.Body)
			got <- seen{head.String(), string(body)}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
	})
	const host, end = "Host: localhost\r\n", "Connection: close\r\n\r\n"
	for _, tt := range []struct {
		name, request string
		code          string // of the answer
		line, has     string // of what arrives
		without       string
		body          string
	}{
		{name: "both lengths", request: "POST / HTTP/1.1\r\n" + host + "Content-Length: 30\r\nTransfer-Encoding: chunked\r\n" + end + "5\r\nhello\r\n0\r\n\r\n",
			code: "200", line: "POST / HTTP/1.1", has: "Transfer-Encoding: chunked\r\n", without: "Content-Length", body: "hello"},
		{name: "two lengths", request: "POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nContent-Length: 6\r\n" + end + "hello!", code: "400"},
		{name: "a list of lengths", request: "POST / HTTP/1.1\r\n" + host + "Content-Length: 5, 5\r\n" + end + "hello", code: "400"},
		{name: "a signed length", request: "POST / HTTP/1.1\r\n" + host + "Content-Length: +5\r\n" + end + "hello", code: "400"},
		{name: "a coding not last", request: "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked, identity\r\n" + end + "5\r\nhello\r\n0\r\n\r\n", code: "501"},
		{name: "two codings", request: "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + end + "0\r\n\r\n", code: "501"},
		{name: "a hidden coding", request: "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding : chunked\r\nContent-Length: 5\r\n" + end + "hello", code: "400"},
		{name: "a folded line", request: "GET / HTTP/1.1\r\n" + host + "X-A: b\r\n c\r\n" + end, code: "200", line: "GET / HTTP/1.1", has: "X-A: b c\r\n"},
		{name: "a folded coding", request: "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding:\r\n chunked\r\n" + end + "5\r\nhello\r\n0\r\n\r\n",
			code: "200", line: "POST / HTTP/1.1", has: "Transfer-Encoding: chunked\r\n", body: "hello"},
		{name: "no host", request: "GET / HTTP/1.1\r\n" + end, code: "400"},
		{name: "two hosts", request: "GET / HTTP/1.1\r\n" + host + "Host: evil.example.com\r\n" + end, code: "400"},
		{name: "the host of an absolute target counts", request: "GET http://localhost:1/a?b HTTP/1.1\r\nHost: evil.example.com\r\n" + end,
			code: "200", line: "GET /a?b HTTP/1.1", has: "Host: localhost:1\r\n", without: "evil"},
		{name: "and not that beside it", request: "GET http://evil.example.com/ HTTP/1.1\r\n" + host + end, code: "421"},
		{name: "the server itself", request: "OPTIONS * HTTP/1.1\r\n" + host + end, code: "200", line: "OPTIONS * HTTP/1.1"},
		{name: "a length that Connection hides", request: "POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nConnection: close, Content-Length\r\n\r\nhello",
			code: "200", line: "POST / HTTP/1.1", has: "Content-Length: 5\r\n", body: "hello"},
		{name: "a host that Connection hides", request: "GET / HTTP/1.1\r\n" + host + "Connection: close, Host\r\n\r\n",
			code: "200", line: "GET / HTTP/1.1", has: "Host: localhost\r\n"},
		{name: "a null byte", request: "GET / HTTP/1.1\r\n" + host + "X: a\x00b\r\n" + end, code: "400"},
		{name: "a lonely CR", request: "GET / HTTP/1.1\r\n" + host + "X: a\rTransfer-Encoding: chunked\r\n" + end, code: "400"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, _ := w.ask(tt.request)
			if len(answer) < 12 || answer[9:12] != tt.code {
				t.Fatalf("%q, want %s", answer, tt.code)
			}
			if tt.line == "" {
				if len(got) > 0 {
					t.Errorf("%+v got through", <-got)
				}
				return
			}
			s := <-got
			if !strings.HasPrefix(s.head, tt.line+"\r\n") || !strings.Contains(s.head, tt.has) || tt.without != "" && strings.Contains(s.head, tt.without) || s.body != tt.body {
				t.Errorf("%+v", s)
			}
		})
	}
}
