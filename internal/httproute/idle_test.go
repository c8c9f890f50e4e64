package httproute_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tshx/internal/conn"
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
			res, err := client.Get(w.url + "/wait")
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

// A balancer may hang up on a connection that was idle when the next request is
// under way: here the other side does, on each second one of a connection.
func TestBrokenIdle(t *testing.T) {
	for name, end := range map[string]func(net.Conn){
		"end":   func(c net.Conn) { c.Close() },
		"reset": func(c net.Conn) { conn.Abort(c) },
	} {
		t.Run(name, func(t *testing.T) {
			var used sync.Map
			var cuts atomic.Int64
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				if _, again := used.LoadOrStore(r.RemoteAddr, true); again {
					cuts.Add(1)
					c, _, err := http.NewResponseController(rw).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					end(c)
					return
				}
				hello(rw, r)
			}, nil)
			client := w.client(true)
			for range 5 {
				if code, body := w.get(client, "/"); code != 200 || body != "hello" {
					t.Errorf("%d %s", code, body)
				}
			}
			if cuts.Load() == 0 {
				t.Error("no connection was used again")
			}
		})
	}
}

// Where nothing was written nothing can have had an effect, and a request is sent
// again.
func TestClosedBeforeWrite(t *testing.T) {
	var bodies atomic.Int64
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); string(b) != "body" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		bodies.Add(1)
	}, func(w *world) { w.options.Dialer = onceDialer{w.options.Dialer} })
	client := w.client(true)
	for range 3 {
		res, err := client.Post(w.url+"/", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, res.Body); res.StatusCode != 200 {
			t.Errorf("%s %s", res.Status, body)
		}
	}
	if n := w.accepted.Load(); n != 3 || bodies.Load() != 3 {
		t.Errorf("%d requests on %d connections", bodies.Load(), n)
	}
}

// onceDialer's connections can be written once, head and body.
type onceDialer struct{ tlsroute.RouteDialer }

func (d onceDialer) Dial(ctx context.Context, r tlsroute.Route) (net.Conn, error) {
	c, err := d.RouteDialer.Dial(ctx, r)
	return &once{Conn: c}, err
}

type once struct {
	net.Conn
	writes atomic.Int64
}

func (c *once) Write(b []byte) (int, error) {
	if c.writes.Add(1) > 2 {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}
