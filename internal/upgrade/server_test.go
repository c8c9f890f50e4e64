package upgrade

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ask sends a raw request and returns the connection behind it.
func ask(t *testing.T, tgt Target, request string) *tls.Conn {
	t.Helper()
	_, pool := testCert()
	c, err := tls.Dial("tcp", tgt.Addr, &tls.Config{RootCAs: pool})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = io.WriteString(c, request)
	must(t, err)
	return c
}

func request(headers ...string) string {
	return "GET " + Path + " HTTP/1.1\r\nHost: proxy.test\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

const (
	connectionUpgrade = "Connection: Upgrade"
	wsVersion         = "Sec-WebSocket-Version: 13"
	wsKey             = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
)

func fixture(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	must(t, err)
	return string(b)
}

// TestOldAnswers compares the old behaviour with what a real proxy sent.
func TestOldAnswers(t *testing.T) {
	old := &Handler{NoWebSocket: true, PingInterval: time.Millisecond, Serve: func(_ context.Context, c net.Conn) {
		defer c.Close()
		io.Copy(io.Discard, c)
	}}
	tgt := serveUpgrade(t, old)
	t.Run("alpn-ping with its first ping", func(t *testing.T) {
		want := fixture(t, "alpn-ping-response.bin")
		got := make([]byte, len(want))
		_, err := io.ReadFull(ask(t, tgt, request("Upgrade: alpn-ping", connectionUpgrade)), got)
		if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
			t.Error(diff, err)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		want := fixture(t, "upgrade-unknown-response.txt")
		got := make([]byte, len(want))
		_, err := io.ReadFull(ask(t, tgt, request("Upgrade: nope", connectionUpgrade)), got)
		date := regexp.MustCompile(`Date: [^\r]*`)
		mask := func(s string) string { return date.ReplaceAllString(s, "Date: -") }
		if diff := cmp.Diff(mask(want), mask(string(got))); diff != "" || err != nil {
			t.Error(diff, err)
		}
	})
}

// TestChoice runs requests of all clients against servers of each age.
func TestChoice(t *testing.T) {
	const notFound = "404 Not Found"
	ws := []string{"Upgrade: websocket", connectionUpgrade, wsVersion, wsKey}
	for _, tc := range []struct {
		name        string
		headers     []string
		now         string // the answer's Upgrade header and subprotocol, or its status
		old, noLega string // the same of the other two servers
	}{
		{"nothing", nil, notFound, notFound, notFound},
		{"legacy alpn", []string{"Upgrade: alpn", connectionUpgrade}, "alpn", "alpn", notFound},
		{"legacy alpn-ping", []string{"Upgrade: alpn-ping", connectionUpgrade, "X-Teleport-Upgrade: alpn-ping"}, "alpn-ping", "alpn-ping", notFound},
		{"in capitals", []string{"upgrade: ALPN", "connection: upgrade"}, "alpn", "alpn", notFound},
		{"Upgrade header changed on the way", []string{"Upgrade: foo", "X-Teleport-Upgrade: alpn", connectionUpgrade}, "alpn", notFound, notFound},
		{"two kinds", []string{"Upgrade: alpn", "Upgrade: alpn-ping", connectionUpgrade}, "alpn-ping", "alpn", notFound},
		{"list", []string{"Upgrade: foo, alpn", connectionUpgrade}, "alpn", "alpn", notFound},
		{"pure WebSocket", append(ws, "Sec-WebSocket-Protocol: alpn"), "websocket alpn", notFound, "websocket alpn"},
		{"WebSocket of 15", append(ws, "Upgrade: alpn-ping", "X-Teleport-Upgrade: alpn-ping", "Sec-WebSocket-Protocol: alpn-ping"),
			"websocket alpn-ping", "alpn-ping", "websocket alpn-ping"},
		{"WebSocket with both subprotocols", append(ws, "Sec-WebSocket-Protocol: alpn, alpn-ping"), "websocket alpn-ping", notFound, "websocket alpn-ping"},
		{"WebSocket from a page elsewhere", append(ws, "Sec-WebSocket-Protocol: alpn", "Origin: https://example.org"), "websocket alpn", notFound, "websocket alpn"},
		{"WebSocket without subprotocol", ws, "websocket ", notFound, "websocket "},
		{"WebSocket without key", append(ws[:3:3], "Sec-WebSocket-Protocol: alpn"), "400 Bad Request", notFound, "400 Bad Request"},
	} {
		for name, server := range map[string]struct {
			h    *Handler
			want string
		}{
			"now": {&Handler{}, tc.now}, "old": {&Handler{NoWebSocket: true}, tc.old}, "no legacy": {&Handler{NoLegacy: true}, tc.noLega},
		} {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				server.h.Serve = func(_ context.Context, c net.Conn) { c.Close() }
				c := ask(t, serveUpgrade(t, server.h), request(tc.headers...))
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				must(t, err)
				got := resp.Status
				if resp.StatusCode == 101 {
					got = resp.Header.Get("Upgrade")
					if got == "websocket" {
						got += " " + resp.Header.Get("Sec-WebSocket-Protocol")
					} else if x := resp.Header.Get(headerUpgrade); (x == got) == server.h.NoWebSocket {
						t.Errorf("%s: %q", headerUpgrade, x)
					}
				} else if body, _ := io.ReadAll(resp.Body); !bytes.Contains(body, []byte(`"message"`)) {
					t.Errorf("body %q", body)
				}
				if got != server.want {
					t.Errorf("got %q, want %q", got, server.want)
				}
			})
		}
	}
}

func TestOtherRequests(t *testing.T) {
	tgt := serveUpgrade(t, &Handler{Serve: func(context.Context, net.Conn) { t.Error("served") }})
	t.Run("POST", func(t *testing.T) {
		c := ask(t, tgt, strings.Replace(request("Upgrade: alpn", connectionUpgrade, "Content-Length: 0"), "GET", "POST", 1))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET" {
			t.Errorf("got %v, %v", resp, err)
		}
	})
	for _, kind := range []string{"alpn", "websocket"} {
		t.Run("HTTP/2 "+kind, func(t *testing.T) {
			_, pool := testCert()
			tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool}}
			defer tr.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+tgt.Addr+Path, nil)
			must(t, err)
			req.Header.Set(headerUpgrade, kind)
			resp, err := tr.RoundTrip(req)
			must(t, err)
			resp.Body.Close()
			if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusBadRequest {
				t.Errorf("got %s %s", resp.Proto, resp.Status)
			}
		})
	}
}

// TestServerFrames looks at all that the server half sends behind its 101.
func TestServerFrames(t *testing.T) {
	var big bytes.Buffer
	for i := range 1 << 15 {
		binary.Write(&big, binary.BigEndian, uint64(i))
	}
	start := make(chan struct{})
	tgt := serveUpgrade(t, &Handler{PingInterval: 20 * time.Millisecond, Serve: func(_ context.Context, c net.Conn) {
		defer c.Close()
		<-start
		c.Write(nil)
		if n, err := c.Write(big.Bytes()); n != big.Len() || err != nil {
			t.Error(n, err)
		}
	}})
	for kind, pings := range map[Kind]int{ALPNPing: 3, ALPN: 0} {
		t.Run(string(kind), func(t *testing.T) {
			c := ask(t, tgt, request("Upgrade: websocket", connectionUpgrade, wsVersion, wsKey, "Sec-WebSocket-Protocol: "+string(kind)))
			br := bufio.NewReader(c)
			_, err := http.ReadResponse(br, nil)
			must(t, err)
			for range pings {
				f, err := readFrame(br)
				if diff := cmp.Diff(wsFrame{finPing, false, "teleport"}, f); diff != "" || err != nil {
					t.Fatal(diff, err)
				}
			}
			start <- struct{}{}
			var got bytes.Buffer
			for {
				f, err := readFrame(br)
				must(t, err)
				if f.First == finPing && kind == ALPNPing {
					continue
				}
				if f.Masked || f.First != finBinary || f.Payload == "" || len(f.Payload) > wsPayload {
					if f.First != finClose || f.Payload != "\x03\xe8" {
						t.Errorf("frame %#x with %d bytes", f.First, len(f.Payload))
					}
					break
				}
				got.WriteString(f.Payload)
			}
			if !bytes.Equal(got.Bytes(), big.Bytes()) {
				t.Errorf("got %d bytes of %d, or others", got.Len(), big.Len())
			}
		})
	}
}

// TestLegacyPings reads the pings of an idle stream; plain alpn has none.
func TestLegacyPings(t *testing.T) {
	tgt := serveUpgrade(t, &Handler{PingInterval: time.Millisecond, Serve: func(_ context.Context, c net.Conn) {
		defer c.Close()
		io.Copy(c, c)
	}})
	for kind, want := range map[Kind]string{ALPNPing: emptyFrame + emptyFrame + emptyFrame, ALPN: "abc"} {
		c := ask(t, tgt, request("Upgrade: "+string(kind), connectionUpgrade))
		br := bufio.NewReader(c)
		_, err := http.ReadResponse(br, nil)
		must(t, err)
		if kind == ALPN {
			time.Sleep(10 * time.Millisecond) // pings would come by now
			io.WriteString(c, want)
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(br, got); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", kind, got, err)
		}
	}
}

// TestUnknownSubprotocol is closed behind the 101, with a reason.
func TestUnknownSubprotocol(t *testing.T) {
	for _, h := range []string{"Sec-WebSocket-Protocol: chat", "X: y"} {
		var log bytes.Buffer
		served := make(chan struct{}, 1)
		tgt := serveUpgrade(t, &Handler{
			Serve: func(context.Context, net.Conn) { served <- struct{}{} },
			Log:   slog.New(slog.NewTextHandler(&log, nil)),
		})
		c := ask(t, tgt, request("Upgrade: websocket", connectionUpgrade, wsVersion, wsKey, h))
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		must(t, err)
		f, err := readFrame(br)
		must(t, err)
		if resp.StatusCode != 101 || f.First != finClose || f.Payload != "\x03\xebunsupported subprotocol" {
			t.Errorf("%s, frame %#x %q", resp.Status, f.First, f.Payload)
		}
		if _, err := br.ReadByte(); err != io.EOF {
			t.Errorf("then %v", err)
		}
		if len(served) > 0 {
			t.Error("served")
		}
	}
}

// TestReadAhead has a client that sends the stream's bytes with the request.
func TestReadAhead(t *testing.T) {
	up := make(chan net.Conn, 1)
	tgt := serveUpgrade(t, &Handler{Serve: passTo(up)})
	for kind, sent := range map[Kind]string{ALPN: "early", ALPNPing: frame("ear") + emptyFrame + frame("ly")} {
		ask(t, tgt, request("Upgrade: "+string(kind), connectionUpgrade)+sent)
		s := <-up
		got := make([]byte, 5)
		if _, err := io.ReadFull(s, got); err != nil || string(got) != "early" {
			t.Errorf("%s: got %q, %v", kind, got, err)
		}
		s.Close()
	}
}

// TestRemoteAddr checks that Serve sees the address of the request.
func TestRemoteAddr(t *testing.T) {
	for given, want := range map[string]string{"": "127.0.0.1", "203.0.113.7:4711": "203.0.113.7:4711", "[2001:db8::1]:99": "[2001:db8::1]:99", "rubbish": "127.0.0.1"} {
		for _, method := range []Method{WebSocket, Legacy} {
			up := make(chan net.Conn, 1)
			h := &Handler{Serve: passTo(up)}
			tgt := serveUpgrade(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if given != "" {
					r.RemoteAddr = given
				}
				h.ServeHTTP(w, r)
			}))
			c, _, err := tgt.Connect(t.Context(), ALPN, method)
			must(t, err)
			s := <-up
			if got := s.RemoteAddr(); !strings.HasPrefix(got.String(), want) || got.Network() != "tcp" {
				t.Errorf("%q over %s: got %v", given, method, got)
			}
			s.Close()
			c.Close()
		}
	}
}

// TestHandlerWaits checks that the request lives as long as the stream, however
// early Serve returns.
func TestHandlerWaits(t *testing.T) {
	eachWay(t, func(t *testing.T, kind Kind, method Method) {
		up, returned := make(chan net.Conn, 1), make(chan error, 1)
		h := &Handler{Serve: passTo(up)}
		var ctx context.Context
		serve := h.Serve
		h.Serve = func(c context.Context, s net.Conn) { ctx = c; serve(c, s) }
		tgt := serveUpgrade(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			returned <- r.Context().Err()
		}))
		c, _, err := tgt.Connect(t.Context(), kind, method)
		must(t, err)
		defer c.Close()
		s := <-up
		io.WriteString(s, "x")
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		select {
		case <-returned:
			t.Error("the handler did not wait")
		default:
		}
		if ctx.Err() != nil {
			t.Error("context ended early")
		}
		s.Close()
		s.Close()
		if err := <-returned; err != nil {
			t.Error(err)
		}
		<-ctx.Done()
	})
}

// TestPanic closes the stream of a Serve that panics.
func TestPanic(t *testing.T) {
	h := &Handler{Serve: func(context.Context, net.Conn) { panic(http.ErrAbortHandler) }}
	c := connectVia(t, h, ALPN, Auto)
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v", err)
	}
	must(t, h.Shutdown(t.Context()))
}

func TestShutdown(t *testing.T) {
	eachWay(t, func(t *testing.T, kind Kind, method Method) {
		up := make(chan net.Conn, 1)
		h := &Handler{Serve: passTo(up)}
		tgt := serveUpgrade(t, h)
		c, _, err := tgt.Connect(t.Context(), kind, method)
		must(t, err)
		defer c.Close()
		s := <-up

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Shutdown(ctx) }()
		// New ones are refused while the open one goes on.
		for {
			extra, _, err := tgt.Connect(t.Context(), kind, method)
			if refused, ok := errors.AsType[*RefusedError](err); ok {
				if refused.Status != http.StatusServiceUnavailable {
					t.Error(err)
				}
				break
			}
			must(t, err)
			(<-up).Close() // Shutdown was not yet there
			extra.Close()
		}
		io.WriteString(c, "y")
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("client: %v", err)
		}
		must(t, h.Shutdown(t.Context()))
	})
	t.Run("idle", func(t *testing.T) {
		h := &Handler{}
		must(t, h.Shutdown(t.Context()))
		must(t, h.Shutdown(t.Context()))
	})
	t.Run("waits", func(t *testing.T) {
		up := make(chan net.Conn, 1)
		h := &Handler{Serve: passTo(up)}
		connectVia(t, h, ALPN, Auto)
		s := <-up
		done := make(chan error, 1)
		go func() { done <- h.Shutdown(context.Background()) }()
		s.Close()
		must(t, <-done)
	})
}

// TestBaseContext ends the streams with the server's context.
func TestBaseContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	up := make(chan net.Conn, 1)
	h := &Handler{Serve: passTo(up)}
	tgt := serveUpgrade(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r.WithContext(ctx)) }))
	c, _, err := tgt.Connect(t.Context(), ALPN, Auto)
	must(t, err)
	defer c.Close()
	<-up
	cancel()
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v", err)
	}
	must(t, h.Shutdown(t.Context()))
}

// TestWrappedWriter hijacks through a middleware's ResponseWriter.
func TestWrappedWriter(t *testing.T) {
	for _, method := range []Method{WebSocket, Legacy} {
		h := &Handler{Serve: func(_ context.Context, c net.Conn) { c.Close() }}
		tgt := serveUpgrade(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrapped{w}, r) }))
		c, _, err := tgt.Connect(t.Context(), ALPN, method)
		must(t, err)
		c.Close()
	}
}

type wrapped struct{ w http.ResponseWriter }

func (w wrapped) Header() http.Header         { return w.w.Header() }
func (w wrapped) Write(p []byte) (int, error) { return w.w.Write(p) }
func (w wrapped) WriteHeader(status int)      { w.w.WriteHeader(status) }
func (w wrapped) Unwrap() http.ResponseWriter { return w.w }

// TestNoDeadlines checks that no deadline of the HTTP server, or of the answer
// to the upgrade, is left on a stream.
func TestNoDeadlines(t *testing.T) {
	for name, headers := range map[string][]string{
		"legacy":    {"Upgrade: alpn", connectionUpgrade},
		"websocket": {"Upgrade: websocket", connectionUpgrade, wsVersion, wsKey, "Sec-WebSocket-Protocol: alpn"},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			defer far.Close()
			spy := &deadlines{Conn: near}
			spy.SetDeadline(time.Now().Add(time.Hour)) // the HTTP server's
			go io.Copy(io.Discard, far)
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request(headers...))))
			must(t, err)
			served := false
			h := &Handler{Serve: func(_ context.Context, c net.Conn) {
				served = true
				if !spy.read.IsZero() || !spy.write.IsZero() {
					t.Errorf("deadlines %v, %v", spy.read, spy.write)
				}
				c.Close()
			}}
			h.ServeHTTP(&hijackable{c: spy}, r)
			if !served {
				t.Error("not served")
			}
		})
	}
}

// deadlines remembers those that were set last.
type deadlines struct {
	net.Conn
	read, write time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = t; return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = t; return nil }
func (d *deadlines) SetDeadline(t time.Time) error      { d.read, d.write = t, t; return nil }

// hijackable is a ResponseWriter that does nothing else.
type hijackable struct {
	http.ResponseWriter
	c net.Conn
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.c, bufio.NewReadWriter(bufio.NewReader(h.c), bufio.NewWriter(h.c)), nil
}
