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

	"tshx/internal/tlsroute"
)

func hello(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "hello") }

// One connection serves one request after another, also of several clients.
func TestPooled(t *testing.T) {
	w := newWorld(t, hello, nil)
	for range 3 {
		w.get(w.client(true), "/")
		w.get(w.client(false), "/")
	}
	if n := w.accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A new certificate means new connections: those of the old one end, but for the
// streams in progress, which go on.
func TestNewCertificate(t *testing.T) {
	next := make(chan string)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/watch" {
			hello(rw, r)
			return
		}
		for s := range next {
			io.WriteString(rw, s)
			http.NewResponseController(rw).Flush()
		}
	}, nil)
	client := w.client(true)
	go func() { next <- "a" }()
	watch, err := client.Get(w.Proxy.URL(0) + "/watch")
	if err != nil {
		t.Fatal(err)
	}
	w.get(client, "/")
	w.get(client, "/")
	if n := w.accepted.Load(); n != 2 {
		t.Fatalf("%d connections at first", n)
	}

	w.fail(errors.New("expired"))
	if code, _ := w.get(client, "/"); code != 401 {
		t.Errorf("expired: %d", code)
	}
	w.waitOpen(1) // the idle one is closed
	w.fail(nil)
	w.get(client, "/")
	if n := w.accepted.Load(); n != 3 {
		t.Errorf("%d connections after it was there again", n)
	}

	w.cert.Store(userCert(t))
	w.get(client, "/")
	w.get(client, "/")
	if n := w.accepted.Load(); n != 4 {
		t.Errorf("%d connections after a new login", n)
	}
	w.waitOpen(2) // the watch, and the new one
	next <- "b"
	close(next)
	if got := readAll(t, watch.Body); got != "ab" {
		t.Errorf("watch got %q", got)
	}
	w.waitOpen(1) // and nothing of the old certificate is kept
}

// waitOpen waits until n connections to the proxy are open.
func (w *world) waitOpen(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.open != n {
		w.changed.Wait()
	}
}

// Forty clients at once wait for each other, and none fails.
func TestDialLimit(t *testing.T) {
	const limit, clients = 3, 40
	var now, most atomic.Int64
	all := make(chan struct{})
	var arrived atomic.Int64
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if arrived.Add(1) == clients {
			close(all)
		}
		<-all // so that each needs a connection of its own
		hello(rw, r)
	}, func(w *world) {
		w.options.Dials = limit
		real := w.options.Dialer
		w.options.Dialer = dialFunc{real, func(context.Context, tlsroute.Route) error {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			return nil
		}}
		w.options.Dialer = afterDial{w.options.Dialer, func() { now.Add(-1) }}
	})
	var wg sync.WaitGroup
	for range clients {
		client := w.client(true)
		wg.Go(func() {
			res, err := client.Get(w.Proxy.URL(0) + "/")
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := io.ReadAll(res.Body); string(b) != "hello" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			res.Body.Close()
		})
	}
	wg.Wait()
	if m := most.Load(); m > limit || m < 2 {
		t.Errorf("%d dials at once", m)
	}
}

type afterDial struct {
	tlsroute.RouteDialer
	after func()
}

func (d afterDial) Dial(ctx context.Context, r tlsroute.Route) (c net.Conn, err error) {
	defer d.after()
	return d.RouteDialer.Dial(ctx, r)
}

// At the end of the program idle clients do not hold it up, and those with a
// request may finish it.
func TestDrain(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		begun, finish := make(chan bool), make(chan bool)
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				begun <- true
				<-finish
			}
			hello(rw, r)
		}, nil)
		w.get(w.client(http2), "/") // and stays connected
		busy, got := w.client(http2), make(chan string)
		go func() {
			res, err := busy.Get(w.Proxy.URL(0) + "/slow")
			if err != nil {
				got <- err.Error()
				return
			}
			b, _ := io.ReadAll(res.Body)
			res.Body.Close()
			got <- string(b)
		}()
		<-begun
		w.Stop()
		finish <- true
		if s := <-got; s != "hello" {
			t.Error(s)
		}
		<-w.Ended
		if n := w.cut.Load(); n != 0 {
			t.Errorf("%d connections had to be cut", n)
		}
	})
}

// Close cuts streams, and they do not look complete.
func TestClose(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			hello(rw, r)
			http.NewResponseController(rw).Flush()
			<-r.Context().Done()
		}, nil)
		res, err := w.client(http2).Get(w.Proxy.URL(0) + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		w.Proxy.Close()
		if b, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%q looks complete", b)
		}
		w.waitOpen(0)
	})
}
