package upgrade

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPingClientKeepsAlive: empty frames at the right times, none once the
// connection is closed.
func TestPingClientKeepsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		start := time.Now()
		c := NewPingClient(a)
		type arrival struct {
			after time.Duration
			bytes string
		}
		var got []arrival
		over := make(chan struct{})
		go func() {
			defer close(over)
			buf := make([]byte, 64)
			for {
				n, err := b.Read(buf)
				if err != nil {
					return
				}
				got = append(got, arrival{time.Since(start), string(buf[:n])})
			}
		}()
		time.Sleep(KeepAlive + 3*time.Second)
		c.Write([]byte("x"))
		time.Sleep(2*KeepAlive + time.Second)
		c.Close()
		time.Sleep(10 * KeepAlive)
		<-over
		want := []arrival{
			{KeepAlive, emptyFrame},
			{KeepAlive + 3*time.Second, "\x00\x00\x00\x01x"},
			{2*KeepAlive + 3*time.Second, emptyFrame},
			{3*KeepAlive + 3*time.Second, emptyFrame},
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(arrival{})); diff != "" {
			t.Error(diff)
		}
	})
}

// TestKeepAliveWaitsForNobody: a peer that reads nothing is sent one empty frame
// and no more, and a Write behind it is not broken.
func TestKeepAliveWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := NewPingClient(a)
		time.Sleep(10 * KeepAlive)
		got := make([]byte, pingHeader)
		if _, err := io.ReadFull(b, got); err != nil || string(got) != emptyFrame {
			t.Fatalf("%x, %v", got, err)
		}
		go c.Write([]byte("x"))
		got = make([]byte, pingHeader+1)
		if _, err := io.ReadFull(b, got); err != nil || string(got) != "\x00\x00\x00\x01x" {
			t.Errorf("%x, %v", got, err)
		}
		c.Close()
		b.Close()
	})
}

// TestWebSocketKeepsAlive: Pongs that nobody asked for, from the client only.
func TestWebSocketKeepsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []wsFrame
		over := make(chan struct{})
		c, _, err := pipeTarget(func(c *tls.Conn) {
			defer close(over)
			for {
				f, err := readFrame(c)
				if err != nil {
					return
				}
				got = append(got, f)
			}
		}).Connect(t.Context(), ALPN, WebSocket)
		must(t, err)
		time.Sleep(2*KeepAlive + time.Second)
		c.Write([]byte("x"))
		time.Sleep(KeepAlive - time.Second)
		c.Close()
		<-over
		want := []wsFrame{{finPong, true, ""}, {finPong, true, ""}, {finBinary, true, "x"}, {finClose, true, "\x03\xe8"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
