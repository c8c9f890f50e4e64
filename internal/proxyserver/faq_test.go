package proxyserver

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// Who upgrades and then only looks, as people do with curl, is pinged after half a
// minute, and again, until there should have been a ClientHello.
func TestPingsOfSilence(t *testing.T) {
	for name, b := range map[string]Behavior{"v14": V14(), "v17": V17()} {
		t.Run(name, func(t *testing.T) {
			testAuthority() // made outside of the bubble
			synctest.Test(t, func(t *testing.T) {
				s, err := New(Options{Authority: testAuthority(), Behavior: b})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				client, server := net.Pipe()
				s.ServeConn(server)
				c := tls.Client(client, &tls.Config{InsecureSkipVerify: true}) // in a bubble it is the year 2000
				defer c.Close()
				io.WriteString(c, "GET "+upgrade.Path+" HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: alpn-ping\r\n\r\n")
				r := bufio.NewReader(c)
				resp, err := http.ReadResponse(r, nil)
				if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "alpn-ping" {
					t.Fatalf("%v, %v", resp, err)
				}
				began := time.Now()
				for i := range 3 {
					var ping [4]byte
					_, err := io.ReadFull(r, ping[:])
					if took, want := time.Since(began), time.Duration(i+1)*30*time.Second; err != nil || ping != [4]byte{} || took != want {
						t.Fatalf("% x after %v, %v; want a ping after %v", ping, took, err, want)
					}
				}
				io.Copy(io.Discard, r)
				if took := time.Since(began); took != tlsroute.UpgradedHelloTimeout {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}
