package localproxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"tshx/internal/conn"
)

// Who asks for something odd is told so in one line, and does not look like one
// who has left.
func TestReadConnect(t *testing.T) {
	long := strings.Repeat("a", maxConnect+1)
	for _, tt := range []struct{ name, send, addr string }{
		{"name", "CONNECT Example.com.:443 HTTP/1.1\r\n\r\n", "example.com:443"},
		{"no port", "CONNECT example.com HTTP/1.1\r\n\r\n", "example.com:443"},
		{"address", "CONNECT [::1]:8443 HTTP/1.0\r\n\r\n", "[::1]:8443"},
		{"no brackets", "CONNECT ::1:443 HTTP/1.1\r\n\r\n", ""},
		{"user", "CONNECT user:pass@example.com:443 HTTP/1.1\r\n\r\n", ""},
		{"no host", "CONNECT :443 HTTP/1.1\r\n\r\n", ""},
		{"odd port", "CONNECT example.com:http%0a HTTP/1.1\r\n\r\n", ""},
		{"control character", "CONNECT ex\x1bample.com:443 HTTP/1.1\r\n\r\n", ""},
		{"endless line", "CONNECT " + long, ""},
		{"endless head", "CONNECT example.com:443 HTTP/1.1\r\nA: " + long, ""},
		{"two lengths", "CONNECT example.com:443 HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", ""},
		{"plain HTTP", "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := pair(t)
			go io.WriteString(client, tt.send)
			answered := make(chan string, 1)
			if tt.addr == "" {
				go func() {
					defer client.Close()
					res, err := http.ReadResponse(bufio.NewReader(client), nil)
					if err != nil {
						answered <- err.Error()
						return
					}
					body, _ := io.ReadAll(res.Body)
					answered <- res.Status + "\n" + string(body)
				}()
			}
			q, err := ReadConnect(server, "test clients")
			if tt.addr != "" {
				if err != nil || q.Addr != tt.addr {
					t.Errorf("%+v, %v", q, err)
				}
				return
			}
			server.Close()
			var refused *Refusal
			if got := <-answered; !errors.As(err, &refused) || refused.Code != 400 || got != "400 "+refused.Text+"\n"+refused.Text+"\n" {
				t.Errorf("%v; answered %q", err, got)
			}
		})
	}
	t.Run("left", func(t *testing.T) {
		client, server := pair(t)
		client.Close()
		if _, err := ReadConnect(server, "test clients"); !errors.Is(err, conn.ErrClientGone) {
			t.Error(err)
		}
	})
}

// pair returns the two ends of a connection over TCP.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if client, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}
