package appproxy_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tshx/internal/appproxy"
	"tshx/internal/localproxy"
	"tshx/internal/tlsroute"
)

// Connections to the proxy do not outlive the Proxy.
func TestCloseUpstream(t *testing.T) {
	gone := make(chan bool, 1)
	w := newWorld(t, nil, func(w *world) {
		w.raw = func(c net.Conn) {
			rawHead(bufio.NewReader(c))
			io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			io.Copy(io.Discard, c)
			gone <- true
		}
	})
	res, err := w.client().Get(w.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	readAll(t, res.Body)
	if len(gone) > 0 {
		t.Fatal("the connection was not kept")
	}
	w.Proxy.Close()
	<-gone
}

// A client that is sent away is hung up on.
func TestSentAway(t *testing.T) {
	w := newWorld(t, unused, func(w *world) { w.options.Protocol = appproxy.HTTP })
	if got, err := w.ask("\x16\x03\x01\x00\x05hello"); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// That idle clients are hung up on at the end of the program is no failure.
func TestDrainedReason(t *testing.T) {
	w := newWorld(t, unused, func(w *world) { w.options.Protocol = appproxy.HTTP })
	_, br := w.dial("")
	w.ask("GET / HTTP/1.1\r\nHost: evil.example.com\r\nConnection: close\r\n\r\n") // they are accepted in turn
	<-w.closed
	w.Stop()
	io.Copy(io.Discard, br)
	if e := <-w.closed; e.Reason != localproxy.Drain {
		t.Errorf("closed %+v", e)
	}
	if len(w.reports) > 0 {
		t.Errorf("reported %v", <-w.reports)
	}
}

// pausing is a dialer of one connection to a server that speaks first. Once that
// was heard, and before anything is made of it, then is called.
type pausing struct {
	then   func(ctx context.Context)
	closed atomic.Bool
}

func (p *pausing) Dial(ctx context.Context, _ tlsroute.Route) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		io.WriteString(far, "220 hello\r\n")
		io.Copy(io.Discard, far)
		far.Close()
	}()
	return &paused{near, ctx, p}, nil
}

type paused struct {
	net.Conn
	ctx context.Context
	p   *pausing
}

func (c *paused) SetReadDeadline(at time.Time) error {
	if at.IsZero() {
		c.p.then(c.ctx)
	}
	return c.Conn.SetReadDeadline(at)
}

func (c *paused) Close() error {
	c.p.closed.Store(true)
	return c.Conn.Close()
}

// The upstream of a silent client is not left behind where the program ends when
// it has just been heard.
func TestDrainMeeting(t *testing.T) {
	p := &pausing{}
	proxy := appproxy.New(appproxy.Options{Name: "web", Dialer: p})
	defer proxy.Close()
	p.then = func(ctx context.Context) {
		proxy.Drain()
		<-ctx.Done()
	}
	ln := listen(t)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	proxy.ServeConn(t.Context(), c)
	if !p.closed.Load() {
		t.Error("the connection to the proxy was left open")
	}
}

// A server that refuses what was asked for may be one of TCP all the same: of what
// is said to it by the route of HTTP it understands nothing. A client that is
// silent then hears its greeting, by one tunnel.
func TestRefusalProvesNothing(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadRequest) }, func(w *world) { w.tcp = greet })
	if got, _ := w.ask("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("%q", got)
	}
	c, br := w.dial("")
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if line, err := br.ReadString('\n'); line != "220 hello\r\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	if n := w.tunnels.Load(); n != 1 {
		t.Errorf("%d tunnels", n)
	}
}

// A target that begins like the name of another host stays a path.
func TestTargetOfTwoSlashes(t *testing.T) {
	heads := make(chan string, 1)
	w := newWorld(t, nil, func(w *world) {
		w.raw = func(c net.Conn) {
			heads <- rawHead(bufio.NewReader(c))
			io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	_, br := w.dial("GET //evil.example.com/a|b HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if line, err := br.ReadString('\n'); !strings.HasSuffix(line, " 204 No Content\r\n") || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	if head := <-heads; !strings.HasPrefix(head, "GET //evil.example.com/a%7Cb HTTP/1.1\r\nHost: localhost\r\n") {
		t.Errorf("%q arrived", head)
	}
}

// Our own answers are taken for nothing else, and a page of ours runs nothing and
// is shown in no other.
func TestAnswerHeaders(t *testing.T) {
	w := newWorld(t, unused, nil)
	for _, accept := range []string{"text/plain", "application/json", "text/html"} {
		r, _ := http.NewRequest("GET", w.url("/"), nil)
		r.Host = "evil.example.com"
		r.Header.Set("Accept", accept)
		res, err := w.client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, res.Body)
		if got := res.Header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: may be taken for something else (%q)", accept, got)
		}
		if accept != "text/html" {
			continue
		}
		var policy []string
		for _, one := range strings.Split(res.Header.Get("Content-Security-Policy"), ";") {
			policy = append(policy, strings.TrimSpace(one))
		}
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'none'"} {
			if !slices.Contains(policy, want) {
				t.Errorf("no %s in %v", want, policy)
			}
		}
	}
}

// Applications of TCP are asked for with signs of life first, and without where the
// proxy knows none (docs/protocol.md, "Names").
func TestTCPRoute(t *testing.T) {
	if got := appproxy.TCPRoute("x", nil).ALPN; !slices.Equal(got, []string{"teleport-tcp-ping", "teleport-tcp"}) {
		t.Errorf("%q", got)
	}
}
