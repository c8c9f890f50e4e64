package egress

import (
	"io"
	"net"
	"testing"
	"time"
)

// A server that takes nothing for longer than StallTimeout is no dead network:
// every byte arrives when it reads on. TCP_USER_TIMEOUT would break this
// connection.
func TestSlowReaderLives(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for longer than StallTimeout")
	}
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	const size = 8 << 20 // more than the kernel buffers
	received := make(chan int64, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.(*net.TCPConn).SetReadBuffer(128 << 10)
		time.Sleep(StallTimeout + time.Second)
		n, _ := io.Copy(io.Discard, c)
		received <- n
	}()
	d := &Dialer{Getenv: env()}
	c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	must(t, err)
	defer c.Close()
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	must(t, c.(*watched).CloseWrite())
	if n := <-received; n != size {
		t.Errorf("%d bytes arrived of %d", n, size)
	}
}
