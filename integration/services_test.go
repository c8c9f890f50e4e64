//go:build linux

package integration

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// service is a small TCP server of the test itself, behind the cluster.
type service struct {
	addr string
	busy atomic.Int64 // connections that are open now
}

// startService serves each connection with handle, which need not close it,
// until the end of the run.
func startService(handle func(c *net.TCPConn)) (*service, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	atExit(func() { ln.Close() })
	s := &service{addr: ln.Addr().String()}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.busy.Add(1)
			go func() {
				defer s.busy.Add(-1)
				defer c.Close()
				handle(c.(*net.TCPConn))
			}()
		}
	}()
	return s, nil
}

func newService(handle func(c *net.TCPConn)) *shared[*service] {
	return share(func() (*service, error) { return startService(handle) })
}

// farewell is what the polite service says before it half-closes, and torn is
// how many bytes the torn one sends before it resets.
const (
	farewell = "no more from me\n"
	torn     = 1 << 20
)

// The services by the name of their app.
var services = map[string]*shared[*service]{
	// bulk is for checksums; see bulk_test.go.
	"bulk": newService(func(c *net.TCPConn) { serveBulk(c) }),
	// fast is bulk without the checking, which takes longer than the way.
	"fast": newService(func(c *net.TCPConn) { serveFast(c) }),
	// echo sends everything back and half-closes after the client.
	"echo": newService(func(c *net.TCPConn) { io.Copy(c, c) }),
	// polite half-closes first, then reads what the client has to say and
	// answers by closing; what it has read is in politeHeard.
	"polite": newService(func(c *net.TCPConn) {
		io.WriteString(c, farewell)
		c.CloseWrite()
		heard, _ := io.ReadAll(c)
		politeHeard <- string(heard)
	}),
	// torn sends a part of something and resets.
	"torn": newService(func(c *net.TCPConn) {
		c.Read(make([]byte, 1))
		sendNoise(c, torn)
		reset(c)
	}),
}

var politeHeard = make(chan string, 1)

// heardPolitely is what the polite service has heard.
func heardPolitely(t testing.TB) string {
	t.Helper()
	select {
	case got := <-politeHeard:
		return got
	case <-time.After(patience):
		t.Fatal("the server heard no end")
		return ""
	}
}

// silent is an SSH node that takes connections and says nothing.
var silent = newService(func(c *net.TCPConn) {
	buf := make([]byte, 1)
	for {
		if _, err := c.Read(buf); err != nil {
			select {} // it does not even close when the client has ended
		}
	}
})
