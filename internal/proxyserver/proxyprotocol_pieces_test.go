package proxyserver

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
)

// A header may come in pieces: networks owe nobody whole lines.
func TestProxyProtocolInPieces(t *testing.T) {
	for name, header := range map[string]string{"v1": proxyV1, "v2": proxyV2(t, proxyproto.PROXY, "203.0.113.9")} {
		for cut := 1; cut < len(header); cut++ {
			client, server := net.Pipe() // a Read gets bytes of one Write only
			go func() {
				io.WriteString(client, header[:cut])
				io.WriteString(client, header[cut:])
				io.WriteString(client, "hello")
				client.Close()
			}()
			c, err := ProxyProtocolOn.client(server)
			if err != nil {
				t.Fatalf("%s, cut after %d bytes: %v", name, cut, err)
			}
			b, err := io.ReadAll(c)
			if got := c.RemoteAddr().String(); got != "203.0.113.9:4711" || string(b) != "hello" || err != nil {
				t.Errorf("%s, cut after %d bytes: %s says %q, %v", name, cut, got, b, err)
			}
			server.Close()
		}
	}
}

// A first line that never ends is given up on, and no more of it is read than a
// header has room for.
func TestProxyProtocolEndlessLine(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	took := make(chan int, 1)
	go func() {
		line, n := "PROXY TCP4 "+strings.Repeat("1", 1<<13), 0
		for ; n < len(line); n++ {
			if _, err := io.WriteString(client, line[n:n+1]); err != nil {
				break
			}
		}
		took <- n
	}()
	if _, err := ProxyProtocolOn.client(server); err == nil {
		t.Error("accepted")
	}
	server.Close()
	if n := <-took; n > proxyV1Most {
		t.Errorf("took %d bytes", n)
	}
}
