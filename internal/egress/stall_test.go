package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// network is a connection whose kernel a test plays.
type network struct {
	*watched
	far   net.Conn
	looks atomic.Int32
	state atomic.Pointer[flight]
	heard atomic.Int64 // UnixNano of the last acknowledgement
}

func newNetwork(t *testing.T) *network {
	near, far := net.Pipe()
	n := &network{far: far}
	n.state.Store(&flight{})
	n.hear()
	n.watched = &watched{Conn: near, out: near, look: func() (flight, error) {
		n.looks.Add(1)
		f := *n.state.Load()
		f.heard = time.Since(time.Unix(0, n.heard.Load()))
		return f, nil
	}}
	go io.Copy(io.Discard, far)
	t.Cleanup(func() { n.Close(); far.Close() })
	return n
}

func (n *network) hear() { n.heard.Store(time.Now().UnixNano()) }

// send writes, after which the kernel is in the given state.
func (n *network) send(t *testing.T, f flight) {
	t.Helper()
	n.state.Store(&f)
	if _, err := n.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
}

var (
	inFlight = flight{outstanding: true}
	lost     = flight{outstanding: true, lost: true}
)

// A write into a network that carries nothing breaks the connection in time, for
// readers and writers alike, however long it was idle before.
func TestStall(t *testing.T) {
	for name, idle := range map[string]time.Duration{"fresh": 0, "idle": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				n.send(t, flight{})
				time.Sleep(idle)
				n.send(t, lost)
				start := time.Now()
				_, err := n.Read(make([]byte, 1))
				var stall *StallError
				if !errors.As(err, &stall) || !strings.Contains(err.Error(), "for 2.") || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("read: %v", err)
				}
				if took := time.Since(start); took < StallTimeout || took > StallTimeout+2*stallTick {
					t.Errorf("broke after %v, want %v", took, StallTimeout)
				}
				if _, err := n.Write([]byte("y")); !errors.As(err, &stall) {
					t.Errorf("write: %v", err)
				}
			})
		})
	}
}

// What is merely slow lives.
func TestNoStall(t *testing.T) {
	for name, tt := range map[string]struct {
		sent flight
		live func(*network)
	}{
		"nothing sent again": {inFlight, func(*network) {}},
		"acknowledgements":   {lost, (*network).hear},
		"acknowledged":       {lost, func(n *network) { n.state.Store(&flight{}); n.hear() }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				for range 60 {
					n.send(t, tt.sent)
					time.Sleep(StallTimeout / 2)
					tt.live(n)
					time.Sleep(stallTick)
				}
			})
		})
	}
}

// A connection that was broken off after a busy time breaks by the silence, not
// by its age, and within three seconds.
func TestStallAfterTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		for range 1000 {
			n.send(t, inFlight)
			n.hear()
			time.Sleep(stallTick / 7)
		}
		n.send(t, lost)
		start := time.Now()
		n.Read(make([]byte, 1))
		if took := time.Since(start); took < StallTimeout || took > 3*time.Second {
			t.Errorf("broke after %v", took)
		}
	})
}

// Nobody looks at what is idle, nor at what is closed.
func TestStallIdleCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		time.Sleep(time.Hour)
		if l := n.looks.Load(); l != 0 {
			t.Errorf("%d looks before the first byte", l)
		}
		n.send(t, flight{})
		time.Sleep(time.Hour)
		if l := n.looks.Load(); l != 1 {
			t.Errorf("%d looks for one write", l)
		}
		n.send(t, lost)
		n.Close()
		time.Sleep(time.Hour)
		if l := n.looks.Load(); l != 1 {
			t.Errorf("%d looks after the close", l-1)
		}
		if _, err := n.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("read: %v", err)
		}
	})
}
