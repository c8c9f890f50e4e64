//go:build linux

package integration

import (
	"io"
	"strings"
	"testing"
	"time"

	"tshx/internal/lab"
)

// warmed is a tshx with a warm connection, behind which the number of those that
// were retired for a reason can be waited for.
type warmed struct {
	*program
	addr string
}

func startWarm(t *testing.T, tr *transport) warmed {
	t.Helper()
	p := launch(t, tr.options(), tshxPath, "-d", "proxy", "app", "echo", "--warm", "1")
	w := warmed{p, p.lineAfter("address: ")}
	c := dial(t, w.addr)
	answers(t, c)
	c.Close()
	w.logged("warm connection ready", 1)
	return w
}

// logged waits until text was logged n times.
func (w warmed) logged(text string, n int) {
	w.t.Helper()
	if !eventually(patience, func() bool { return strings.Count(w.stderr.String(), text) >= n || w.ended() }) || w.ended() {
		w.t.Fatalf("no %q", text)
	}
}

// complained fails the test if a connection has.
func (w warmed) complained() {
	w.t.Helper()
	if strings.Contains(w.stderr.String(), "failed: ") {
		w.t.Error("a client was told of a failure")
	}
}

// TestWarmCut: a balancer that cuts idle connections cuts warm ones, of which
// clients notice nothing, neither those that come later nor those that have got a
// connection and have not used it yet.
func TestWarmCut(t *testing.T) {
	nothingLeft(t)
	c := modern.get(t)
	plan, err := c.balancer(c.direct)
	check(t, err)
	plan.Idle = 2 * time.Second // more than a connection takes to come about
	s, err := plan.HAProxyHTTP()
	check(t, err)
	t.Cleanup(s.Close)
	tr, err := c.login(at("localhost", s.Addr), lab.HomeOptions{})
	check(t, err)
	w := startWarm(t, tr)
	for i := range 2 {
		holder := dial(t, w.addr) // has the warm one, and says nothing before the cut
		w.logged("warm connection used", i+1)
		w.logged("reason=ended", i+1) // of the next warm one
		answers(t, holder)
		holder.Close()
		c := dial(t, w.addr)
		answers(t, c)
		c.Close()
		w.logged("warm connection ready", 2*i+3)
	}
	w.complained()
}

// TestWarmRelogin: connections of an old certificate are not handed out, neither
// when it was renewed nor when it has expired.
func TestWarmRelogin(t *testing.T) {
	nothingLeft(t)
	c := modern.get(t)
	tr := privateLogin(t, c.direct)
	w := startWarm(t, tr)
	check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{FreshKey: true}))
	answers(t, dial(t, w.addr))
	w.logged(`reason="changed terms"`, 1)
	w.complained()

	w.logged("warm connection ready", 2)
	check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{TTL: -time.Hour}))
	if n, _ := io.Copy(io.Discard, dial(t, w.addr)); n != 0 {
		t.Errorf("%d bytes with an expired certificate", n)
	}
	w.logged("reason=certificate", 1)
}
