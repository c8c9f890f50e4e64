//go:build linux

package integration

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// TestBlackHole: the network to the proxy carries nothing any more, as after a
// machine has slept or moved. A client that writes and one that comes anew are
// told within three seconds, those who do neither are left alone, and when the
// network is back all is well.
func TestBlackHole(t *testing.T) {
	const (
		// TestStall of package egress and TestDialSilence of package tlsroute have it to
		// the second, by a time that is not the machine's. TCP by itself would take a
		// quarter of an hour.
		promise = 3 * time.Second
		grace   = 12 * time.Second // of a busy machine
	)
	for _, way := range remoteWays {
		for _, warm := range []string{"0", "1"} {
			t.Run(way.name+" warm "+warm, func(t *testing.T) {
				nothingLeft(t)
				l := newLink(t, 0)
				tr := l.login(way.addr(t))
				p := l.tshx(tr, "proxy", "app", "echo", "--warm", warm)
				addr := p.lineAfter("address: ")
				writes, idles := l.dial(addr), l.dial(addr)
				answers(t, writes)
				answers(t, idles)

				l.severed.Store(true)
				told := func(what string, c net.Conn, start time.Time) {
					t.Helper()
					c.SetReadDeadline(start.Add(patience))
					n, err := c.Read(make([]byte, 1))
					took := time.Since(start)
					t.Logf("%s: %v after %v", what, err, took.Round(time.Millisecond))
					if n > 0 || err == nil || err == io.EOF && what == "write" || errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("%s: read %d bytes, %v", what, n, err)
					}
					if took > promise+grace {
						t.Errorf("%s: told after %v, want %v", what, took, promise)
					}
				}
				start := time.Now()
				writes.Write([]byte("x"))
				told("write", writes, start)
				for range 2 { // the first may still get a warm one
					start = time.Now()
					c := l.dial(addr)
					c.Write([]byte("x"))
					told("new connection", c, start)
				}

				l.severed.Store(false)
				answers(t, l.dial(addr))
				answers(t, idles)
			})
		}
	}
}
