package httproute_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tshx/internal/conn"
	"tshx/internal/tlsroute"
)

// writeRequests are of the kinds that must not be made twice. ReverseProxy and
// net/http treat bodies by their length and by whether that is known.
var writeRequests = []struct {
	name, method, contentType string
	size                      int
	chunked                   bool
}{
	{"post", "POST", "application/json", 300, false},
	{"apply", "PATCH", "application/apply-patch+yaml", 300, false},
	{"delete", "DELETE", "", 0, false},
	{"large", "POST", "application/json", 1 << 20, false},
	{"without a length", "POST", "application/json", 1 << 20, true},
}

// write makes the i-th of these and returns the answer's code and body.
func (w *world) write(c *http.Client, i int) (int, string) {
	w.t.Helper()
	tt := writeRequests[i]
	var body io.Reader = strings.NewReader(strings.Repeat("x", tt.size))
	if tt.chunked {
		body = io.MultiReader(body)
	}
	r, err := http.NewRequest(tt.method, w.url+"/", body)
	if err != nil {
		w.t.Fatal(err)
	}
	if tt.contentType != "" {
		r.Header.Set("Content-Type", tt.contentType)
	}
	res, err := c.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, readAll(w.t, res.Body)
}

// count answers with the length of the body.
func count(rw http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprint(rw, n, err)
}

// keep answers once it has the whole request, so that the connection is worth
// keeping, and ends it when it is told to.
func keep(t *testing.T, rw http.ResponseWriter, r *http.Request, end <-chan bool) {
	io.Copy(io.Discard, r.Body)
	c, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkept")
	<-end
}

// latch tells of the end of the first connection, and keeps it from who reads
// until it is open, or something is written nevertheless.
type latch struct {
	tlsroute.RouteDialer
	once, open    sync.Once
	ended, opened chan bool
}

func (l *latch) Dial(ctx context.Context, r tlsroute.Route) (net.Conn, error) {
	c, err := l.RouteDialer.Dial(ctx, r)
	if err == nil {
		l.once.Do(func() { c = &latched{c, l} })
	}
	return c, err
}

type latched struct {
	net.Conn
	l *latch
}

func (c *latched) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		io.Copy(io.Discard, socket(c.Conn)) // TCP ends after TLS
		close(c.l.ended)
		<-c.l.opened
	}
	return n, err
}

func (c *latched) Write(p []byte) (int, error) {
	select {
	case <-c.l.ended:
		defer c.l.open.Do(func() { close(c.l.opened) })
	default:
	}
	return c.Conn.Write(p)
}

func (c *latched) NetConn() net.Conn { return c.Conn }

// socket returns the connection below all others.
func socket(c net.Conn) net.Conn {
	for {
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = w.NetConn()
	}
}

// A connection whose end has arrived carries no request any more, whether or not
// net/http has got to know of it, and that is no reason for a request to fail.
func TestEndedIdle(t *testing.T) {
	for i, tt := range writeRequests {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 { // of a race between net/http and the request
				testEndedIdle(t, i, false)
			}
			if runtime.GOOS == "linux" { // elsewhere nobody asks the socket
				testEndedIdle(t, i, true)
			}
		})
	}
}

func testEndedIdle(t *testing.T, i int, unread bool) {
	var requests atomic.Int64
	end := make(chan bool)
	l := &latch{ended: make(chan bool), opened: make(chan bool)}
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			keep(t, rw, r, end)
			return
		}
		count(rw, r)
	}, func(w *world) { l.RouteDialer, w.options.Dialer = w.options.Dialer, l })
	client := w.client(true)
	if code, body := w.write(client, i); code != 200 || body != "kept" {
		t.Fatalf("%d %s", code, body)
	}
	close(end)
	<-l.ended
	release := func() { l.open.Do(func() { close(l.opened) }) }
	defer release()
	if !unread {
		release()
	}
	if code, body := w.write(client, i); code != 200 || body != fmt.Sprint(writeRequests[i].size, nil) {
		t.Errorf("%d %s", code, body)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// What the other side may have got is not sent again.
func TestBrokenWrite(t *testing.T) {
	for i, tt := range writeRequests {
		for name, end := range map[string]func(net.Conn){
			"end":   func(c net.Conn) { c.Close() },
			"reset": func(c net.Conn) { conn.Abort(c) },
		} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				var requests atomic.Int64
				w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
					if requests.Add(1) == 1 {
						count(rw, r)
						return
					}
					c, _, err := http.NewResponseController(rw).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					end(c)
				}, nil)
				client := w.client(true)
				w.write(client, i)
				if code, body := w.write(client, i); code != 502 {
					t.Errorf("%d %s", code, body)
				}
				if n := requests.Load(); n != 2 || w.accepted.Load() != 1 {
					t.Errorf("%d requests on %d connections", n, w.accepted.Load())
				}
			})
		}
	}
}
