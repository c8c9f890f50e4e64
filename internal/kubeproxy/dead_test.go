package kubeproxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tshx/internal/localproxy"
	"tshx/internal/tlsroute"
)

// mortal is a dialer whose connections lose what is written once it is dead, and
// then break.
type mortal struct {
	tlsroute.RouteDialer
	dead atomic.Bool
	lost atomic.Int64
}

func (m *mortal) Dial(ctx context.Context, r tlsroute.Route) (net.Conn, error) {
	c, err := m.RouteDialer.Dial(ctx, r)
	if err != nil || m.dead.Load() {
		return c, err
	}
	return &grave{c, m}, nil
}

// grave is one of them.
type grave struct {
	net.Conn
	m *mortal
}

func (g *grave) Write(p []byte) (int, error) {
	if g.m.dead.Load() {
		g.m.lost.Add(1)
		g.Conn.SetReadDeadline(time.Unix(1, 0))
		return len(p), nil
	}
	return g.Conn.Write(p)
}

// A network that has gone takes all kept connections with it: one of them tells.
func TestDeadIdle(t *testing.T) {
	const clients = 10
	var arrived atomic.Int64
	all := make(chan bool)
	m := &mortal{}
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			if arrived.Add(1) == clients {
				close(all)
			}
			<-all
		}
		hello(rw, r)
	}, func(w *world) { m.RouteDialer, w.options.Dialer = w.options.Dialer, m })
	client := w.client(true)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			res, err := client.Get(w.Proxy.URL(0) + "/wait")
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		})
	}
	wg.Wait()
	m.dead.Store(true)
	if code, body := w.get(client, "/"); code != 200 || body != "hello" {
		t.Errorf("%d %s", code, body)
	}
	if n := m.lost.Load(); n != 1 {
		t.Errorf("%d connections were tried in vain", n)
	}
}

// A request that was given up does not hold up those behind it.
func TestGivenUpDial(t *testing.T) {
	began, pass := make(chan bool, 100), make(chan bool)
	closed := make(chan bool, 100)
	w := newWorld(t, unused, func(w *world) {
		w.options.Dials = 1
		w.options.Dialer = dialFunc{nil, func(context.Context, tlsroute.Route) error {
			began <- true
			<-pass
			return errors.New("refused")
		}}
		w.options.Closed = func(localproxy.Connection, localproxy.End) { closed <- true }
	})
	got := make(chan int, 2)
	ask := func() {
		res, err := w.client(false).Get(w.Proxy.URL(0) + "/")
		if err != nil {
			t.Error(err)
			got <- 0
			return
		}
		res.Body.Close()
		got <- res.StatusCode
	}
	go ask()
	<-began
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel) // whenever it is, it may not count
		r, _ := http.NewRequestWithContext(ctx, "GET", w.Proxy.URL(0)+"/", nil)
		if _, err := w.client(false).Do(r); err == nil {
			t.Error("answered")
		}
		<-closed
	}
	go ask()
	close(pass)
	if a, b := <-got, <-got; a != 502 || b != 502 {
		t.Error(a, b)
	}
	if n := len(began); n != 1 {
		t.Errorf("%d more dials", n)
	}
}
