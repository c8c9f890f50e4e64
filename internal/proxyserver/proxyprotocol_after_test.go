package proxyserver

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// The time for a header ends with the header: what follows may take as long as it
// likes, whether there was one or not.
func TestProxyProtocolNoTimeAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		mode ProxyProtocol
		text string
	}{
		"header":    {ProxyProtocolOn, proxyV1},
		"no header": {ProxyProtocolUnset, "more than the signature has"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				defer server.Close()
				go func() {
					io.WriteString(client, tt.text)
					time.Sleep(2 * proxyHeaderTimeout)
					io.WriteString(client, ".")
				}()
				c, err := tt.mode.client(server)
				if err != nil {
					t.Fatal(err)
				}
				for b := make([]byte, 64); ; {
					n, err := c.Read(b)
					if err != nil {
						t.Fatalf("read: %v", err)
					}
					if b[n-1] == '.' {
						return
					}
				}
			})
		})
	}
}
