package appproxy_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tshx/internal/appproxy"
	"tshx/internal/conn"
	"tshx/internal/localproxy"
)

// echo is a TCP application for which the client speaks first.
func echo(c net.Conn) {
	io.Copy(c, c)
	conn.CloseWrite(c)
}

// greet is one that speaks first itself.
func greet(c net.Conn) {
	io.WriteString(c, "220 hello\r\n")
	echo(c)
}

func TestTCP(t *testing.T) {
	for name, first := range map[string]string{
		"line": "hello\r\n", "redis": "*1\r\n$4\r\nPING\r\n", "http2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "tls": "\x16\x03\x01\x00\x05hello",
		"part of a request": "GET / HT",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, unused, func(w *world) { w.tcp = echo })
			c, br := w.dial(first)
			conn.CloseWrite(c)
			b, err := io.ReadAll(br)
			if string(b) != first || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			if e := <-w.closed; e.Reason != localproxy.EOF || e.Sent != int64(len(first)) || e.Received != e.Sent {
				t.Errorf("closed %+v", e)
			}
		})
	}
}

func unused(http.ResponseWriter, *http.Request) { panic("a request got through") }

// A server that speaks first is heard. By then it is known to be no server of HTTP,
// so that its clients are neither waited for nor looked at.
func TestServerFirst(t *testing.T) {
	w := newWorld(t, unused, func(w *world) { w.tcp = greet })
	for _, first := range []string{"", "GET / HTTP/1.1\r\n\r\n"} {
		c, br := w.dial(first)
		if line, err := br.ReadString('\n'); line != "220 hello\r\n" || err != nil {
			t.Fatalf("%q, %v", line, err)
		}
		io.WriteString(c, "QUIT\r\n")
		conn.CloseWrite(c)
		if b, err := io.ReadAll(br); string(b) != first+"QUIT\r\n" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	}
}

// One that answers may be of HTTP as well, and so its clients are looked at.
func TestBothKinds(t *testing.T) {
	w := newWorld(t, hello, func(w *world) { w.tcp = echo })
	for range 2 {
		c, br := w.dial("hello\r\n")
		conn.CloseWrite(c)
		if b, err := io.ReadAll(br); string(b) != "hello\r\n" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if got, err := w.ask("GET / HTTP/1.1\r\nHost: rebound.example.com\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 421 ") || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// A client that is silent at first may still be a browser, that has connected ahead:
// the agent of an HTTP application answers by the TCP route, too, and so what a page
// has it ask is looked at. Nothing of it is sent twice.
func TestLateRequest(t *testing.T) {
	var w *world
	begun := make(chan bool, 10)
	w = newWorld(t, hello, func(w *world) {
		w.tcp = func(c net.Conn) {
			begun <- true
			if n, _ := c.Read(make([]byte, 1)); n > 0 {
				t.Error("something was sent by the tunnel")
			}
		}
	})
	for _, tt := range []struct{ pieces, want string }{
		{"GET / HTTP/1.1\r\nHost: rebound.example.com\r\nConnection: close\r\n\r\n", "421 "},
		{"GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\nConnection: close\r\n\r\n", "403 "},
		{"G|ET / HT|TP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "200 "},
	} {
		c, br := w.dial("")
		<-begun // it is taken for a client of TCP
		for _, piece := range strings.Split(tt.pieces, "|") {
			io.WriteString(c, piece)
			time.Sleep(time.Millisecond)
		}
		if b, err := io.ReadAll(br); !strings.HasPrefix(string(b), "HTTP/1.1 "+tt.want) || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	}
	if w.tunnels.Load() != 3 {
		t.Errorf("%d tunnels", w.tunnels.Load())
	}
}

// What a silent client then says arrives, if it is not HTTP, and so does its end.
func TestLateWords(t *testing.T) {
	begun := make(chan bool, 1)
	w := newWorld(t, unused, func(w *world) {
		w.tcp = func(c net.Conn) {
			begun <- true
			echo(c)
		}
	})
	for _, words := range []string{"hello\r\n", ""} {
		c, br := w.dial("")
		<-begun
		io.WriteString(c, words)
		conn.CloseWrite(c)
		if b, err := io.ReadAll(br); string(b) != words || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if e := <-w.closed; e.Reason != localproxy.EOF || e.Sent != int64(len(words)) || e.Received != e.Sent {
			t.Errorf("closed %+v", e)
		}
	}
}

// A client that goes, and the end of the listener, also end what waits for either
// side to speak.
func TestSilentEnds(t *testing.T) {
	for name, end := range map[string]func(*world, net.Conn){
		"reset":    func(_ *world, c net.Conn) { conn.Abort(c) },
		"listener": func(w *world, _ net.Conn) { w.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan bool, 1), make(chan bool, 1)
			w := newWorld(t, unused, func(w *world) {
				w.tcp = func(c net.Conn) {
					begun <- true
					c.Read(make([]byte, 1))
					ended <- true
				}
			})
			c, _ := w.dial("")
			<-begun
			end(w, c)
			<-ended
			<-w.closed
		})
	}
}

// A TCP application that speaks HTTP does not turn off the look at others.
func TestHTTPByTunnel(t *testing.T) {
	w := newWorld(t, hello, func(w *world) {
		w.tcp = func(c net.Conn) { io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") }
	})
	_, br := w.dial("")
	if line, _ := br.ReadString('\n'); !strings.Contains(line, "408") {
		t.Errorf("%q", line)
	}
	res, err := w.client().Get(w.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	if body := readAll(t, res.Body); body != "hello" {
		t.Errorf("%q", body)
	}
}

// A browser connects ahead of its requests. Once the application has shown that it
// is one of HTTP, that is no client of TCP.
func TestConnectAhead(t *testing.T) {
	w := newWorld(t, hello, func(w *world) { w.brisk = true })
	for shown := false; !shown; { // one that is too slow, on a busy machine, is taken for a client of TCP
		got, _ := w.ask("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		shown = strings.HasSuffix(got, "hello")
	}
	before := w.tunnels.Load()
	c, br := w.dial("")
	time.Sleep(500 * time.Millisecond) // longer than a silent client is waited for otherwise
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if b, err := io.ReadAll(br); !strings.HasSuffix(string(b), "hello") || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if n := w.tunnels.Load() - before; n != 0 {
		t.Errorf("%d tunnels", n)
	}
}

// A request line may come in pieces, as from who types it, whatever is known of the
// application.
func TestPieces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello, func(w *world) { w.brisk = true })
	pieces := func() (string, error) {
		c, br := w.dial("")
		for _, piece := range []string{"G", "ET /a", "?b HT", "TP/1.1\r\nHost: localhost\r\nConnec", "tion: close\r\n\r\n"} {
			io.WriteString(c, piece)
			time.Sleep(400 * time.Millisecond) // longer than a client may be silent that says nothing at all
		}
		b, err := io.ReadAll(br)
		return string(b), err
	}
	for range 2 {
		var got string
		var err error
		for range 5 { // the first piece may be late itself, on a busy machine
			before := w.tunnels.Load()
			if got, err = pieces(); w.tunnels.Load() == before {
				break
			}
		}
		if !strings.HasSuffix(got, "hello") || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// The application is not one of TCP, or down: that is reported.
func TestNoTCP(t *testing.T) {
	for first, want := range map[string]error{"hello\r\n": appproxy.ErrNoAnswer, "\x16\x03\x01\x00\x05hello": appproxy.ErrClientTLS} {
		w := newWorld(t, unused, nil)
		if got, _ := w.ask(first); got != "" {
			t.Errorf("%q", got)
		}
		if err := <-w.reports; !errors.Is(err, want) {
			t.Errorf("%q: %v", first, err)
		}
		if e := <-w.closed; e.Reason != localproxy.Refused {
			t.Errorf("closed %+v", e)
		}
	}
}

func TestProtocols(t *testing.T) {
	t.Run("http", func(t *testing.T) {
		w := newWorld(t, hello, func(w *world) { w.options.Protocol, w.tcp = appproxy.HTTP, echo })
		if got, _ := w.ask("hello there\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("%q", got)
		}
		if got, _ := w.ask("\x16\x03\x01\x00\x05hello"); got != "" {
			t.Errorf("%q", got)
		}
		if err := <-w.reports; !errors.Is(err, appproxy.ErrClientTLS) {
			t.Error(err)
		}
		if w.tunnels.Load() != 0 {
			t.Error("a tunnel")
		}
	})
	t.Run("tcp", func(t *testing.T) {
		w := newWorld(t, unused, func(w *world) { w.options.Protocol, w.tcp = appproxy.TCP, echo })
		c, br := w.dial("GET / HTTP/1.1\r\n\r\n")
		conn.CloseWrite(c)
		if b, _ := io.ReadAll(br); string(b) != "GET / HTTP/1.1\r\n\r\n" {
			t.Errorf("%q", b)
		}
	})
}

// Somebody who only looks whether the port is open costs no connection to the
// proxy where it resets, and is no failure.
func TestGoneAtOnce(t *testing.T) {
	w := newWorld(t, unused, nil)
	c, _ := w.dial("")
	conn.Abort(c)
	if e := <-w.closed; e.Reason != localproxy.ClientGone {
		t.Errorf("closed %+v", e)
	}
	if len(w.reports) > 0 || w.tunnels.Load() > 0 {
		t.Errorf("%d reports, %d tunnels", len(w.reports), w.tunnels.Load())
	}
}
