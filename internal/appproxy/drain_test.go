package appproxy_test

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"time"

	"tshx/internal/conn"
)

// At the end of the program idle clients do not hold it up, those that have said
// nothing yet neither, and requests may finish.
func TestDrain(t *testing.T) {
	begun, finish := make(chan bool), make(chan bool)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- true
			<-finish
		}
		hello(rw, r)
	}, nil)
	res, err := w.client().Get(w.url("/")) // and stays connected
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, res.Body)
	w.dial("")
	w.dial("GET / HTTP/1.1\r\nHost: local")
	got := make(chan string)
	client := w.client()
	go func() {
		res, err := client.Get(w.url("/slow"))
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
	select {
	case <-w.Ended:
	case <-time.After(4 * time.Second): // net/http would wait for 5
		t.Error("the drain waits")
	}
	if n := w.cut.Load(); n != 0 {
		t.Errorf("%d connections had to be cut", n)
	}
}

// Close cuts streams, and they do not look complete.
func TestClose(t *testing.T) {
	for _, request := range []string{"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"} {
		w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ws" {
				c, _, err := http.NewResponseController(rw).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nx")
				io.Copy(io.Discard, c)
				return
			}
			hello(rw, r)
			http.NewResponseController(rw).Flush()
			<-r.Context().Done()
		}, nil)
		_, br := w.dial(request)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		w.Proxy.Close()
		rest := io.Reader(res.Body)
		if res.StatusCode == 101 {
			rest = br
		}
		if b, err := io.ReadAll(rest); err == nil {
			t.Errorf("%q: %q looks complete", request, b)
		}
		<-w.closed
	}
}

// A client that leaves while the application thinks leaves nothing behind.
func TestGivenUp(t *testing.T) {
	asked, gone := make(chan bool), make(chan bool)
	w := newWorld(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		asked <- true
		<-r.Context().Done()
		gone <- true
	}, nil)
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"} {
		c, _ := w.dial(request)
		<-asked
		conn.Abort(c)
		<-gone
	}
	if len(w.reports) > 0 {
		t.Errorf("reported %v", <-w.reports)
	}
}

// BenchmarkRequest tells what a request costs on warm connections, and how much of
// that is the local proxy.
func BenchmarkRequest(b *testing.B) {
	w := newWorld(b, hello, nil)
	c, br := w.dial("")
	ask := func(b *testing.B) {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
	}
	b.Run("proxied", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ask(b)
		}
	})
	b.Run("direct", func(b *testing.B) { // TLS to the same application, without the local proxy
		up, err := w.options.Dialer.Dial(b.Context(), httpRoute(w))
		if err != nil {
			b.Fatal(err)
		}
		defer up.Close()
		c, br = up, bufio.NewReader(up)
		for b.Loop() {
			ask(b)
		}
	})
}
