//go:build linux

package integration

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSlowReaders: servers that send and clients that do not read, and the other
// way round, make tshx hold a few buffers for each connection and no more.
// Nothing of it is lost, and others are served meanwhile.
func TestSlowReaders(t *testing.T) {
	const (
		readers = 30
		size    = 16 << 20 // sent to each
		most    = 1 << 20  // held for each, in bytes
		alone   = 16 << 20 // what two programs grow by when they begin to work
	)
	for _, name := range []string{"raw", "websocket nginx", "legacy nginx"} {
		t.Run(name, func(t *testing.T) {
			nothingLeft(t)
			tr := transportNamed(t, name)
			p, echo := tr.start(t, "proxy", "app", "fast"), tr.start(t, "proxy", "app", "echo")
			before := residentOf(t, p.cmd.Process.Pid) + residentOf(t, echo.cmd.Process.Pid)

			var slow []net.Conn
			addr := p.lineAfter("address: ")
			for range readers {
				c := dial(t, addr)
				check(t, binary.Write(c, binary.BigEndian, int64(size)))
				c.CloseWrite()
				slow = append(slow, c)
			}
			echoed := dial(t, echo.lineAfter("address: "))
			var writing sync.WaitGroup
			var wrote int64 // by one who reads nothing of what comes back
			writing.Go(func() {
				for wrote < size && sendZeros(echoed, int64(len(zeros))) == nil {
					wrote += int64(len(zeros))
				}
				echoed.CloseWrite()
			})

			for _, p := range []*program{p, echo} {
				standsStill(t, p)
			}
			after := residentOf(t, p.cmd.Process.Pid) + residentOf(t, echo.cmd.Process.Pid)
			t.Logf("%d KiB for each slow reader", (after-before)/(readers+1)>>10)
			if after-before > alone+(readers+1)*most {
				t.Errorf("%d MiB for %d slow readers", (after-before)>>20, readers+1)
			}
			answers(t, dial(t, echo.lineAfter("address: ")))
			for _, c := range slow {
				if n, err := io.Copy(io.Discard, c); n != size+8 || err != nil {
					t.Errorf("read %d bytes of %d, %v", n, size+8, err)
				}
			}
			n, err := io.Copy(io.Discard, echoed)
			if writing.Wait(); n != wrote || err != nil {
				t.Errorf("%d bytes echoed of %d, %v", n, wrote, err)
			}
		})
	}
}

// standsStill waits until a program has stopped reading.
func standsStill(t *testing.T, p *program) {
	t.Helper()
	last := int64(-1)
	if !eventually(patience, func() bool {
		read := bytesRead(t, p)
		still := read == last
		last = read
		time.Sleep(300 * time.Millisecond) // in which a running copy moves something
		return still
	}) {
		t.Fatal("reads on and on")
	}
}

// bytesRead is what a program has read so far, from whatever.
func bytesRead(t *testing.T, p *program) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/io")
	check(t, err)
	_, rest, _ := strings.Cut(string(data), "rchar: ")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(line, 10, 64)
	check(t, err)
	return n
}
