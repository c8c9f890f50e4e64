//go:build linux

package integration

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestDescriptors: more clients come than tshx may have open files. Those that
// have their connection keep it, accepting pauses, and when some have left
// others get in.
func TestDescriptors(t *testing.T) {
	nothingLeft(t)
	const (
		limit = 40
		flood = 100 // more than may be served: each takes two
	)
	tr := privateLogin(t, modern.get(t).direct)
	p := launch(t, tr.options(), "sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, limit), "sh",
		tshxPath, "proxy", "app", "echo", "--port", "0", "--warm", "0")
	addr := p.lineAfter("address: ")
	first := dial(t, addr)
	answers(t, first)
	before := openFiles(t, p)

	began := time.Now()
	var clients []net.Conn
	for range flood {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			continue // refused by a reset that came as early as that
		}
		defer c.Close()
		clients = append(clients, c)
	}
	// It is full when the program complains, whichever step was the one too many.
	if !eventually(patience, func() bool { return strings.Contains(p.stderr.String(), "too many open files") }) {
		t.Fatal("no word of too many open files")
	}
	answers(t, first)
	var served atomic.Int32
	var asking sync.WaitGroup
	for _, c := range clients {
		asking.Go(func() {
			if asks(c) {
				served.Add(1)
			}
		})
	}
	asking.Wait()
	if n := served.Load(); n == 0 || n >= limit/2 {
		t.Errorf("%d clients served with %d descriptors", n, limit)
	}
	t.Logf("%d clients served; said:\n%s", served.Load(), p.stderr.String())
	answers(t, first)
	for _, c := range clients {
		c.Close()
	}
	if !eventually(patience, func() bool { c, err := net.Dial("tcp", addr); return err == nil && asks(c) && c.Close() == nil }) {
		t.Error("nobody gets in when descriptors are free again")
	}
	answers(t, first)
	if !eventually(patience, func() bool { return openFiles(t, p) <= before }) {
		t.Errorf("%d descriptors open, %d before", openFiles(t, p), before)
	}
	first.Close()
	p.end()
	oncePerWhile(t, p, began, "") // which steps fail is chance
}

// asks reports whether a connection carries something to the echo service and
// back. It does not wait long: many connections do not get in.
func asks(c net.Conn) bool {
	c.SetDeadline(time.Now().Add(5 * time.Second))
	defer c.SetDeadline(time.Time{})
	got := make([]byte, 1)
	if _, err := io.WriteString(c, "?"); err != nil {
		return false
	}
	_, err := io.ReadFull(c, got)
	return err == nil
}

// openFiles counts the descriptors of a program.
func openFiles(t testing.TB, p *program) int {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	check(t, err)
	return len(fds)
}
