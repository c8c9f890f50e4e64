package tlsroute_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tshx/internal/accept"
	"tshx/internal/conn"
	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
)

// clock is a wall clock that a test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time        { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) sleep(d time.Duration) { c.offset.Add(int64(d)) }

// gate stands before a proxy and knows its connections.
type gate struct {
	world *world
	inner func(net.Conn)
	count atomic.Int32 // connections so far
	shut  atomic.Bool  // new ones are closed at once
	set   accept.Set
}

// gated puts a gate before what is behind the port.
func gated(t *testing.T, w *world, balanced bool) *gate {
	g := &gate{world: w, inner: forward(w.direct)}
	if balanced {
		g.inner = w.balancer()
	}
	w.replace(func(c net.Conn) {
		g.count.Add(1)
		if g.shut.Load() {
			c.Close()
			return
		}
		done := make(chan struct{})
		g.set.Go(c, func(c net.Conn) { defer close(done); g.inner(c) })
		<-done
	})
	return g
}

// cut ends all connections as a balancer does that finds them idle.
func (g *gate) cut() { g.set.CloseConns() }

// pooled returns a pool of one connection that is ready, behind the gate.
func pooled(t *testing.T, balanced bool, r tlsroute.Route) (*tlsroute.Pool, *gate, *clock) {
	t.Helper()
	w := newWorld(t, proxyserver.V17())
	g := gated(t, w, balanced)
	clk := new(clock)
	p := &tlsroute.Pool{Dialer: w.dialer(), Size: 1, Now: clk.now}
	t.Cleanup(func() { p.Close() })
	c, err := p.Dial(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	settle(p, 1)
	return p, g, clk
}

// settle waits until n connections are ready and none is being dialled.
func settle(p *tlsroute.Pool, n int) {
	for {
		if ready, dialing := p.Ready(); ready == n && dialing == 0 {
			return
		}
		runtime.Gosched()
	}
}

func TestPool(t *testing.T) {
	for name, balanced := range map[string]bool{"raw": false, "upgraded": true} {
		t.Run(name, func(t *testing.T) {
			r := echoRoute(t)
			p, g, _ := pooled(t, balanced, r)
			g.shut.Store(true)
			c, err := p.Dial(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if !tlsroute.IsWarm(c) {
				t.Errorf("%T is not from the stock", c)
			}
			checkEcho(t, c)
			// The refills fail, of which nobody is told, and so does a client that
			// must be dialled for.
			if c, err := p.Dial(t.Context(), r); err == nil {
				c.Close()
				t.Error("dialled through a gate that is shut")
			}
			g.shut.Store(false)
			checkEcho(t, dialled(t, p, r))
		})
	}
}

func dialled(t *testing.T, d tlsroute.RouteDialer, r tlsroute.Route) net.Conn {
	t.Helper()
	c, err := d.Dial(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Without a size, and after Close, a pool is its Dialer.
func TestPoolWithoutStock(t *testing.T) {
	w := newWorld(t, proxyserver.V17())
	g := gated(t, w, false)
	r := echoRoute(t)
	p := &tlsroute.Pool{Dialer: w.dialer()}
	checkEcho(t, dialled(t, p, r))
	before := g.count.Load()
	checkEcho(t, dialled(t, p, r))
	if n := g.count.Load() - before; n != 1 {
		t.Errorf("%d connections for one client", n)
	}
	p.Close()

	q, g, _ := pooled(t, false, r)
	q.Close()
	before = g.count.Load()
	checkEcho(t, dialled(t, q, r))
	if ready, dialing := q.Ready(); ready+dialing > 0 || g.count.Load() != before+1 {
		t.Errorf("a closed pool has %d ready and dials %d", ready, dialing)
	}
}

// The stock grows with what clients want at once, and not beyond Size.
func TestPoolGrows(t *testing.T) {
	r := echoRoute(t)
	w := newWorld(t, proxyserver.V17())
	p := &tlsroute.Pool{Dialer: w.dialer(), Size: 2}
	defer p.Close()
	for range 2 {
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				c, err := p.Dial(context.Background(), r)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				io.WriteString(c, "x")
				if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		settle(p, 2)
	}
}

// What no longer holds is not handed out: the client gets a new connection.
func TestPoolRetires(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, p *tlsroute.Pool, g *gate, clk *clock, r *tlsroute.Route){
		"certificate": func(t *testing.T, _ *tlsroute.Pool, _ *gate, _ *clock, r *tlsroute.Route) { r.Certificate = appCert(t) },
		"authorities": func(_ *testing.T, p *tlsroute.Pool, _ *gate, _ *clock, _ *tlsroute.Route) {
			both := authority().Host.Pool()
			both.AppendCertsFromPEM(authority().Web.PEM())
			p.Dialer.HostCAs = func() (*x509.CertPool, error) { return both, nil }
		},
		"age": func(_ *testing.T, _ *tlsroute.Pool, _ *gate, clk *clock, _ *tlsroute.Route) {
			clk.sleep(tlsroute.WarmMaxAge)
		},
		"clock set back": func(_ *testing.T, _ *tlsroute.Pool, _ *gate, clk *clock, _ *tlsroute.Route) { clk.sleep(-time.Hour) },
		"way": func(t *testing.T, p *tlsroute.Pool, g *gate, _ *clock, _ *tlsroute.Route) {
			g.world.replace(forward(g.world.direct))
			p.Dialer.Finder.Profile = &tlsroute.Way{At: time.Now().Add(time.Hour)}
			finder := &tlsroute.Finder{Target: p.Dialer.Finder.Target, Profile: p.Dialer.Finder.Profile}
			p.Dialer.Finder = finder
		},
		"cut": func(_ *testing.T, p *tlsroute.Pool, g *gate, _ *clock, _ *tlsroute.Route) {
			g.cut()
			settle(p, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := echoRoute(t)
			p, g, clk := pooled(t, true, r)
			change(t, p, g, clk, &r)
			c := dialled(t, p, r)
			if tlsroute.IsWarm(c) {
				t.Errorf("%T is from the stock", c)
			}
			checkEcho(t, c)
		})
	}
}

// A certificate that cannot be read is told, and its connections go.
func TestPoolNoCertificate(t *testing.T) {
	r := echoRoute(t)
	p, _, _ := pooled(t, false, r)
	missing := errors.New("no certificate")
	r.Certificate = func() (*tls.Certificate, error) { return nil, missing }
	if _, err := p.Dial(t.Context(), r); !errors.Is(err, missing) {
		t.Errorf("Dial = %v", err)
	}
	if ready, _ := p.Ready(); ready != 0 {
		t.Errorf("%d connections are kept", ready)
	}
}

// What the server says first is for the client, whenever it came.
func TestPoolGreeting(t *testing.T) {
	r := tlsroute.Route{Name: "ssh", ALPN: []string{tlsroute.ALPNSSH}, HostCert: true}
	p, g, _ := pooled(t, false, r)
	g.shut.Store(true)
	c := dialled(t, p, r)
	defer c.Close()
	if !tlsroute.IsWarm(c) {
		t.Fatalf("%T is not from the stock", c)
	}
	greeting := make([]byte, 8)
	if _, err := io.ReadFull(c, greeting); err != nil || string(greeting) != "SSH-2.0-" {
		t.Errorf("greeting %q, %v", greeting, err)
	}

	// A server that has greeted waits for an answer, so that its connection ages
	// faster. It has greeted when the pool has read it: the read then is waiting
	// for more, which only the age tells.
	g.shut.Store(false)
	p, _, clk := pooled(t, false, r)
	for {
		clk.sleep(tlsroute.GreetedMaxAge)
		c := dialled(t, p, r)
		fresh := !tlsroute.IsWarm(c)
		c.Close()
		if fresh {
			return
		}
		clk.sleep(-tlsroute.GreetedMaxAge)
		settle(p, 1)
	}
}

// A connection that is cut when it is in the hands of a client that has not said
// anything yet is replaced without its knowledge.
func TestPoolCutBeforeTheFirstByte(t *testing.T) {
	for name, use := range map[string]func(*testing.T, *gate, net.Conn){
		"writes first": func(t *testing.T, g *gate, c net.Conn) {
			g.cut()
			for !tlsroute.Ended(c) {
				runtime.Gosched()
			}
			checkEcho(t, c)
		},
		"reads first": func(t *testing.T, g *gate, c net.Conn) {
			first := make(chan error, 1)
			go func() {
				_, err := io.ReadFull(c, make([]byte, 1))
				first <- err
			}()
			before := g.count.Load()
			g.cut()
			for g.count.Load() == before { // the replacement; the stock waits after a quick end
				runtime.Gosched()
			}
			io.WriteString(c, "x")
			if err := <-first; err != nil {
				t.Fatal(err)
			}
			checkEcho(t, c)
		},
	} {
		for way, balanced := range map[string]bool{"raw": false, "upgraded": true} {
			t.Run(name+" "+way, func(t *testing.T) {
				r := echoRoute(t)
				p, g, _ := pooled(t, balanced, r)
				c := dialled(t, p, r)
				if !tlsroute.IsWarm(c) {
					t.Fatalf("%T is not from the stock", c)
				}
				settle(p, 1)
				use(t, g, c)
			})
		}
	}
}

// A write that fails with nothing sent, because the end has not been noticed yet,
// goes to the replacement.
func TestPoolFirstWriteFails(t *testing.T) {
	r := echoRoute(t)
	p, _, _ := pooled(t, false, r)
	c := dialled(t, p, r)
	tlsroute.Beneath(c).CloseWrite() // so that nothing can be sent
	checkEcho(t, c)
}

// Behind the first byte the end is told, and never taken for an orderly one.
func TestPoolCutAfterTheFirstByte(t *testing.T) {
	r := echoRoute(t)
	p, g, _ := pooled(t, false, r)
	c := dialled(t, p, r)
	defer c.Close()
	io.WriteString(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	g.cut()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// Breaking a connection ends a reader that waits for its first byte.
func TestPoolAbort(t *testing.T) {
	for name, end := range map[string]func(net.Conn) error{"close": net.Conn.Close, "abort": conn.Abort} {
		t.Run(name, func(t *testing.T) {
			r := echoRoute(t)
			p, _, _ := pooled(t, true, r)
			c := dialled(t, p, r)
			done := make(chan error, 1)
			go func() {
				_, err := c.Read(make([]byte, 1))
				done <- err
			}()
			end(c)
			if err := <-done; err == nil {
				t.Error("read nil")
			}
			c.Close()
		})
	}
}

// Once nothing is read ahead any more, a warm connection can be read as cheaply
// as any other.
func TestPoolPolled(t *testing.T) {
	r := echoRoute(t)
	p, _, _ := pooled(t, false, r)
	c := dialled(t, p, r)
	defer c.Close()
	if c.(conn.Polled).Polled() != nil {
		t.Error("to be read past what is read ahead")
	}
	io.WriteString(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if c.(conn.Polled).Polled() == nil {
		t.Error("not to be polled after the first byte")
	}
}

func TestDefaultWarm(t *testing.T) {
	cert := func() (*tls.Certificate, error) { return nil, nil }
	for _, tt := range []struct {
		alpn []string
		cert bool
		want int
	}{
		{[]string{tlsroute.ALPNPostgres}, true, 1},
		{[]string{tlsroute.WithPing(tlsroute.ALPNPostgres), tlsroute.ALPNPostgres}, false, 1},
		{[]string{tlsroute.MySQLVersion("8.0.36"), tlsroute.ALPNMySQL}, true, 1},
		{[]string{tlsroute.ALPNRedis}, false, 1},
		{[]string{tlsroute.ALPNRedis}, true, 0},
		{[]string{tlsroute.ALPNTCP}, true, 0},
		{[]string{tlsroute.ALPNSSH}, false, 0},
	} {
		r := tlsroute.Route{ALPN: tt.alpn}
		if tt.cert {
			r.Certificate = cert
		}
		if got := tlsroute.DefaultWarm(r); got != tt.want {
			t.Errorf("%v, certificate %v: %d, want %d", tt.alpn, tt.cert, got, tt.want)
		}
	}
}

// A read deadline ends the read that was in progress, not the connection.
func TestPoolReadDeadline(t *testing.T) {
	r := echoRoute(t)
	p, _, _ := pooled(t, false, r)
	c := dialled(t, p, r)
	c.SetReadDeadline(time.Unix(1, 0))
	for range 2 {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
	}
	c.SetReadDeadline(time.Time{})
	checkEcho(t, c)
}
