package tlsroute_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// bubble is a proxy in memory, for tests with the clock of package synctest. Its
// one route echoes.
type bubble struct {
	t     *testing.T
	cfg   *tls.Config
	dials atomic.Int32
	open  atomic.Int32
	mode  atomic.Pointer[string]
}

// What a bubble does with new connections.
const (
	echoes   = ""
	refuses  = "refuses"  // no connection
	hangs    = "hangs"    // a connection, and no answer on it
	vanishes = "vanishes" // not even a connection
	slowly   = "answers in two seconds"
)

// inBubble runs f with a clock of its own, on which the shared authority must not
// be made.
func inBubble(t *testing.T, f func(*testing.T)) {
	authority()
	synctest.Test(t, f)
}

func newBubble(t *testing.T) *bubble {
	cert, err := authority().WebCertificate()
	if err != nil {
		t.Fatal(err)
	}
	b := &bubble{t: t, cfg: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: tlsroute.ServerProtocols()}}
	b.set(echoes)
	return b
}

func (b *bubble) set(mode string) { b.mode.Store(&mode) }

func (b *bubble) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	b.dials.Add(1)
	mode := *b.mode.Load()
	switch mode {
	case refuses:
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	case vanishes:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	client, server := net.Pipe()
	b.open.Add(1)
	go func() {
		defer b.open.Add(-1)
		defer server.Close()
		if mode == hangs {
			io.Copy(io.Discard, server)
			return
		}
		if mode == slowly {
			time.Sleep(2 * time.Second)
		}
		c := tls.Server(server, b.cfg)
		io.Copy(c, c)
	}()
	return client, nil
}

// dialer verifies nothing, because certificates do not hold in the year 2000, in
// which bubbles begin.
func (b *bubble) dialer() *tlsroute.Dialer {
	return &tlsroute.Dialer{Finder: &tlsroute.Finder{
		Target:  upgrade.Target{Addr: "proxy.example.com:443", Dial: b.dial, Insecure: true},
		Profile: &tlsroute.Way{At: time.Now()},
	}}
}

var bubbleRoute = tlsroute.Route{Name: "echo", ALPN: []string{tlsroute.ALPNTCP}}

// visit is one client, and reports whether it found a warm connection.
func visit(t *testing.T, p *tlsroute.Pool) bool {
	t.Helper()
	c, err := p.Dial(t.Context(), bubbleRoute)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return tlsroute.IsWarm(c)
}

// Nothing before the first client, one while clients come, nothing after WarmIdle.
func TestPoolFollowsDemand(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBubble(t)
		p := &tlsroute.Pool{Dialer: b.dialer(), Size: 4}
		defer p.Close()
		time.Sleep(time.Hour)
		if n := b.dials.Load(); n != 0 {
			t.Errorf("%d connections before the first client", n)
		}
		if visit(t, p) {
			t.Error("the first connection was warm")
		}
		for range 20 {
			time.Sleep(tlsroute.WarmMaxAge - time.Second)
			if !visit(t, p) {
				t.Error("not warm")
			}
			synctest.Wait()
			if n := b.open.Load(); n != 1 {
				t.Errorf("%d connections are open, want the warm one", n)
			}
		}
		dials := b.dials.Load()
		time.Sleep(time.Hour)
		if n := b.open.Load(); n != 0 {
			t.Errorf("%d connections are open long after the last client", n)
		}
		if n := b.dials.Load() - dials; n > int32(tlsroute.WarmIdle/tlsroute.WarmMaxAge) {
			t.Errorf("%d connections after the last client", n)
		}
		visit(t, p)
		time.Sleep(time.Second)
		if !visit(t, p) {
			t.Error("clients came back and the pool did not")
		}
	})
}

// Refills that fail pause for longer each time, and go on while clients come.
func TestPoolBacksOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBubble(t)
		p := &tlsroute.Pool{Dialer: b.dialer(), Size: 1}
		defer p.Close()
		visit(t, p)
		synctest.Wait()
		b.set(refuses)
		if !visit(t, p) { // from the stock
			t.Fatal("not warm")
		}
		before := b.dials.Load()
		time.Sleep(tlsroute.WarmIdle - time.Second)
		if n := b.dials.Load() - before; n < 2 || n > 6 {
			t.Errorf("%d refills in %v", n, tlsroute.WarmIdle)
		}
		b.set(echoes)
		visit(t, p)
		time.Sleep(tlsroute.WarmIdle)
		visit(t, p)
		time.Sleep(time.Second)
		if !visit(t, p) {
			t.Error("the pool has not recovered")
		}
	})
}

// A dial into silence is bounded, and closely so once the proxy is known to
// answer.
func TestDialSilence(t *testing.T) {
	for _, tt := range []struct {
		name, first, then string
		least, most       time.Duration
	}{
		{"first dial, nothing there", vanishes, vanishes, tlsroute.ConnectTimeout, tlsroute.ConnectTimeout},
		{"first dial, hung", hangs, hangs, tlsroute.HandshakeTimeout, tlsroute.HandshakeTimeout},
		{"nothing there", echoes, vanishes, tlsroute.SilenceTimeout, tlsroute.SilenceTimeout},
		{"hung", echoes, hangs, tlsroute.SilenceTimeout, tlsroute.SilenceTimeout},
		{"slow proxy, hung", slowly, hangs, 4 * time.Second, 4 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				b := newBubble(t)
				d := b.dialer()
				if b.set(tt.first); tt.first != tt.then {
					c, err := d.Dial(t.Context(), bubbleRoute)
					if err != nil {
						t.Fatal(err)
					}
					c.Close()
				}
				b.set(tt.then)
				start := time.Now()
				_, err := d.Dial(t.Context(), bubbleRoute)
				if took := time.Since(start); took < tt.least || took > tt.most {
					t.Errorf("failed after %v, want %v to %v", took, tt.least, tt.most)
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Dial = %v", err)
				}
				if tt.first != tt.then && !strings.Contains(err.Error(), "no answer from proxy.example.com:443 within") {
					t.Errorf("Dial = %v", err)
				}
				b.set(echoes)
				c, err := d.Dial(t.Context(), bubbleRoute)
				if err != nil {
					t.Fatalf("afterwards: %v", err)
				}
				c.Close()
			})
		})
	}
}

// A dial that waits for its turn while others are answered is not a silence, and
// the caller's own end of patience is told as such.
func TestDialSilenceOfOne(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := newBubble(t)
		d := b.dialer()
		c, err := d.Dial(t.Context(), bubbleRoute)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		b.set(hangs)
		failed := make(chan time.Time, 1)
		start := time.Now()
		go func() {
			d.Dial(t.Context(), bubbleRoute)
			failed <- time.Now()
		}()
		synctest.Wait()
		b.set(echoes)
		for range 5 {
			time.Sleep(time.Second)
			c, err := d.Dial(t.Context(), bubbleRoute)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		if took, want := (<-failed).Sub(start), 5*time.Second+tlsroute.SilenceTimeout; took != want {
			t.Errorf("failed after %v, want %v", took, want)
		}

		b.set(hangs)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := d.Dial(ctx, bubbleRoute); !errors.Is(err, context.Canceled) {
			t.Errorf("Dial = %v", err)
		}
	})
}
