package httproute_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"

	"tshx/internal/httproute"
	"tshx/internal/tlsroute"
)

// All that the proxy can say against a certificate asks for a new login (RFC 8446,
// section 6.2), and nothing else does.
func TestStatusOfAlerts(t *testing.T) {
	about := map[int]bool{42: true, 43: true, 44: true, 45: true, 46: true, 48: true, 49: true, 116: true}
	for alert := range 256 {
		want := http.StatusBadGateway
		if about[alert] {
			want = http.StatusUnauthorized
		}
		err := fmt.Errorf("x: %w", &net.OpError{Op: "remote error", Err: tls.AlertError(alert)})
		if got := httproute.StatusOf(err); got != want {
			t.Errorf("alert %d: %d, want %d", alert, got, want)
		}
	}
}

// refusing is a dialer whose connections refuse the certificate behind the
// handshake, as TLS 1.3 does: with the first write, which fails, an alert is there
// to be read.
type refusing struct{}

func (refusing) Dial(context.Context, tlsroute.Route) (net.Conn, error) {
	near, far := net.Pipe()
	far.Close()
	return &refuser{near, make(chan bool)}, nil
}

type refuser struct {
	net.Conn
	written chan bool
}

func (c *refuser) Write([]byte) (int, error) {
	close(c.written)
	return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
}

func (c *refuser) Read([]byte) (int, error) {
	<-c.written
	return 0, &net.OpError{Op: "remote error", Err: tls.AlertError(46)}
}

// The alert is why a request failed, and not that it could not be written. net/http
// hears of both at the same time.
func TestRefusedBehindHandshake(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		for range 100 {
			synctest.Test(t, func(t *testing.T) {
				up := httproute.New(httproute.Options{Dialer: refusing{}})
				defer up.Close()
				if _, err := by(t, up, method, nil); httproute.StatusOf(err) != http.StatusUnauthorized {
					t.Fatalf("%s: %v", method, err)
				}
			})
		}
	}
}
