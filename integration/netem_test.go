//go:build linux

package integration

import (
	"io"
	"strings"
	"testing"
	"time"
)

// remoteWays are ways to the modern cluster from afar.
var remoteWays = []struct {
	name string
	addr func(t testing.TB) string
}{
	{"raw", func(t testing.TB) string { return modern.get(t).named }},
	{"websocket", func(t testing.TB) string {
		c := modern.get(t)
		plan, err := c.balancer(c.named)
		check(t, err)
		s, err := plan.Nginx()
		check(t, err)
		t.Cleanup(s.Close)
		return s.Addr
	}},
}

// TestWarmSavesRoundTrips counts round trips by making each take 50 ms: with a
// warm connection the first byte arrives at least two of them sooner.
func TestWarmSavesRoundTrips(t *testing.T) {
	const trip = 50 * time.Millisecond
	for _, way := range remoteWays {
		t.Run(way.name, func(t *testing.T) {
			nothingLeft(t)
			l := newLink(t, trip/2)
			tr := l.login(way.addr(t))
			// A busy machine only makes it longer: the shortest of many is what counts, and
			// less than what is on the way it cannot be.
			const one = trip * 16 / 10
			cold, warm := l.firstByte(tr, 0, 0), l.firstByte(tr, 1, one)
			t.Logf("first byte after %v without and %v with a warm connection: %.1f and %.1f round trips",
				cold, warm, float64(cold)/float64(trip), float64(warm)/float64(trip))
			if warm > one {
				t.Errorf("a warm connection takes %v, want about one round trip", warm)
			}
			if cold < 3*trip {
				t.Errorf("without one it takes %v, which is not two round trips more", cold)
			}
		})
	}
}

// firstByte returns the shortest time from a client's connect to the first byte of
// an answer: what is left when nothing but the network takes time. It tries seven
// times, and on, for as long as patience lasts, until one is enough.
func (l *link) firstByte(tr *transport, warm int, enough time.Duration) time.Duration {
	p := l.tshx(tr, "-d", "proxy", "app", "echo", "--warm", string('0'+rune(warm)))
	addr := p.lineAfter("address: ")
	answers(l.t, l.dial(addr)) // finds the way and fills the pool
	best := patience
	begun := time.Now()
	for i := 0; i < 7 || best > enough && enough > 0 && time.Since(begun) < patience; i++ {
		if warm > 0 && !eventually(patience, func() bool { return strings.Count(p.stderr.String(), "warm connection ready") > i }) {
			l.t.Fatal("no warm connection")
		}
		start := time.Now()
		c := l.dial(addr)
		c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			l.t.Fatal(err)
		}
		best = min(best, time.Since(start))
		c.Close()
	}
	return best
}
