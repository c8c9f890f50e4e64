package upgrade

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/conn"
)

// acceptKey proves a handshake (RFC 6455, section 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// switched is the right answer to a WebSocket request.
func switched(r *http.Request) string {
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + acceptKey(r.Header.Get("Sec-WebSocket-Key")) + "\r\n" +
		"Sec-WebSocket-Protocol: " + r.Header.Get("Sec-WebSocket-Protocol") + "\r\n\r\n"
}

// wsFrame is one frame as it was on the wire, unmasked.
type wsFrame struct {
	First   byte // FIN and opcode
	Masked  bool
	Payload string
}

const (
	finBinary = 0x82
	finText   = 0x81
	finClose  = 0x88
	finPing   = 0x89
	finPong   = 0x8a
)

func readFrame(r io.Reader) (f wsFrame, err error) {
	var h [2]byte
	if _, err = io.ReadFull(r, h[:]); err != nil {
		return f, err
	}
	f.First, f.Masked = h[0], h[1]&0x80 != 0
	n := uint64(h[1] & 0x7f)
	switch n {
	case 126:
		var l [2]byte
		_, err = io.ReadFull(r, l[:])
		n = uint64(binary.BigEndian.Uint16(l[:]))
	case 127:
		var l [8]byte
		_, err = io.ReadFull(r, l[:])
		n = binary.BigEndian.Uint64(l[:])
	}
	var mask [4]byte
	if f.Masked && err == nil {
		_, err = io.ReadFull(r, mask[:])
	}
	if err != nil {
		return f, err
	}
	payload := make([]byte, n)
	_, err = io.ReadFull(r, payload)
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	f.Payload = string(payload)
	return f, err
}

// makeFrame builds an unmasked frame, as servers send them.
func makeFrame(first byte, payload string) string {
	n := len(payload)
	switch {
	case n < 126:
		return string([]byte{first, byte(n)}) + payload
	case n < 1<<16:
		return string(binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))) + payload
	}
	return string(binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n))) + payload
}

func closeFrame(code uint16, text string) string {
	return makeFrame(finClose, string(binary.BigEndian.AppendUint16(nil, code))+text)
}

// connectTo makes a WebSocket stream to a server that, after the handshake,
// runs serve on the outer TLS connection.
func connectTo(t testing.TB, kind Kind, serve func(c *tls.Conn)) net.Conn {
	t.Helper()
	ln := listen(t)
	script(t, ln, func(c net.Conn) {
		tc := tls.Server(c, serverTLS())
		r, err := http.ReadRequest(bufio.NewReader(tc))
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(tc, switched(r))
		serve(tc)
	})
	c, method, err := target(ln).Connect(t.Context(), kind, Auto)
	must(t, err)
	if method != WebSocket {
		t.Errorf("method %q", method)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestClientFrames looks at everything that a client sends behind its request.
func TestClientFrames(t *testing.T) {
	big := make([]byte, 1<<20)
	rand.Read(big)
	frames := make(chan wsFrame, 200)
	c := connectTo(t, ALPN, func(c *tls.Conn) {
		defer close(frames)
		for {
			f, err := readFrame(c)
			if err != nil {
				return
			}
			frames <- f
		}
	})
	if n, err := c.Write(nil); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	for _, p := range [][]byte{[]byte("x"), big, big[:wsPayload], big[:wsPayload+1]} {
		if n, err := c.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	c.Close()
	var got []byte
	var sizes []int
	var last wsFrame
	for f := range frames {
		last = f
		if !f.Masked {
			t.Errorf("unmasked frame %x", f.First)
		}
		if f.First == finClose {
			continue
		}
		if f.First != finBinary || len(f.Payload) > wsPayload || f.Payload == "" {
			t.Errorf("frame %#x with %d bytes", f.First, len(f.Payload))
		}
		got = append(got, f.Payload...)
		sizes = append(sizes, len(f.Payload))
	}
	if last.First != finClose || last.Payload != "\x03\xe8" {
		t.Errorf("last frame is %#x %q, want close 1000", last.First, last.Payload)
	}
	want := append([]byte("x"), big...)
	want = append(append(want, big[:wsPayload]...), big[:wsPayload+1]...)
	if !bytes.Equal(got, want) {
		t.Errorf("sent %d bytes, got %d others", len(want), len(got))
	}
	tail := sizes[len(sizes)-3:]
	if diff := cmp.Diff([]int{wsPayload, wsPayload, 1}, tail); diff != "" {
		t.Errorf("the last frames: %s", diff)
	}
}

func TestClientReads(t *testing.T) {
	long := strings.Repeat("long", 1<<15) // 128 KiB
	for _, tc := range []struct {
		name, in, want string
		check          func(error) bool
	}{
		{"messages of all lengths", makeFrame(finBinary, "a") + makeFrame(finBinary, "") + makeFrame(finBinary, long[:300]) + makeFrame(finBinary, long) + closeFrame(1000, ""), "a" + long[:300] + long, is(nil)},
		{"fragments", makeFrame(0x02, "a") + makeFrame(0x00, "b") + makeFrame(finPing, "p") + makeFrame(0x80, "c") + closeFrame(1000, ""), "abc", is(nil)},
		{"close 1000", makeFrame(finBinary, "a") + closeFrame(1000, "bye") + makeFrame(finBinary, "b"), "a", is(nil)},
		{"close 1001", closeFrame(1001, ""), "", is(nil)},
		{"close without code", makeFrame(finClose, ""), "", is(nil)},
		{"no close frame", makeFrame(finBinary, "a"), "a", is(nil)},
		{"close 1003", makeFrame(finBinary, "a") + closeFrame(1003, "un\x07supported\nsub"), "a", isClose(1003, "un supported sub")},
		{"close 1011", closeFrame(1011, ""), "", isClose(1011, "")},
		{"end within a message", makeFrame(finBinary, "abcdef")[:5], "abc", is(io.ErrUnexpectedEOF)},
		{"end between fragments", makeFrame(0x02, "a"), "a", is(io.ErrUnexpectedEOF)},
		{"text", makeFrame(finBinary, "a") + makeFrame(finText, "b"), "a", is(errTextFrame)},
		{"masked", "\x82\x81\x00\x00\x00\x00a", "", isText("MASK")},
		{"reserved opcode", makeFrame(0x83, "a"), "", isText("opcode")},
		{"reserved bit", makeFrame(0xc2, "a"), "", isText("RSV1")},
		{"negative length", "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "", func(err error) bool { return err != nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := connectTo(t, ALPN, func(c *tls.Conn) { io.WriteString(c, tc.in) })
			got, err := io.ReadAll(c)
			if string(got) != tc.want || !tc.check(err) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			for range 3 {
				if _, again := c.Read(make([]byte, 1)); again == nil || err != nil && again != err {
					t.Fatalf("then %v", again)
				}
			}
		})
	}
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func isText(want string) func(error) bool {
	return func(err error) bool { return err != nil && strings.Contains(err.Error(), want) }
}

func isClose(code int, text string) func(error) bool {
	return func(err error) bool {
		ce, ok := errors.AsType[*CloseError](err)
		return ok && ce.Code == code && ce.Text == text && strings.Contains(ce.Error(), fmt.Sprint(code))
	}
}

// TestPong answers pings while reading, with their payload.
func TestPong(t *testing.T) {
	pongs := make(chan wsFrame, 1)
	c := connectTo(t, ALPNPing, func(c *tls.Conn) {
		for _, payload := range []string{"teleport", ""} {
			io.WriteString(c, makeFrame(finPing, payload))
			f, err := readFrame(c)
			if err != nil {
				t.Error(err)
			}
			pongs <- f
		}
		io.WriteString(c, makeFrame(finBinary, "data"))
	})
	go func() {
		io.ReadAll(c)
		close(pongs)
	}()
	want := []wsFrame{{finPong, true, "teleport"}, {finPong, true, ""}}
	var got []wsFrame
	for f := range pongs {
		got = append(got, f)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// pipeTarget is connectTo for synctest: a server at the end of a net.Pipe, which
// has no buffer, so that a write is stuck until it is read.
func pipeTarget(serve func(c *tls.Conn)) Target {
	_, pool := testCert()
	return Target{Addr: "proxy.test:443", Roots: pool, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			cfg := serverTLS()
			cfg.SessionTicketsDisabled = true // nobody would read them
			tc := tls.Server(far, cfg)
			if r, err := http.ReadRequest(bufio.NewReader(tc)); err == nil {
				io.WriteString(tc, switched(r))
				serve(tc)
			}
		}()
		return near, nil
	}}
}

// TestPongWhileStuck has a server that pings and then reads nothing for a
// minute: the Pong has to wait behind the data without breaking the stream, and
// reading has to go on.
func TestPongWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		total, pongs := 0, ""
		over := make(chan struct{})
		tgt := pipeTarget(func(c *tls.Conn) {
			defer close(over)
			io.WriteString(c, makeFrame(finPing, "1")+makeFrame(finPing, "2")+makeFrame(finBinary, "read on"))
			time.Sleep(time.Minute)
			for {
				f, err := readFrame(c)
				if err != nil {
					return
				}
				if f.First == finPong {
					pongs += f.Payload
				} else if f.First == finBinary {
					total += len(f.Payload)
				}
			}
		})
		c, _, err := tgt.Connect(t.Context(), ALPNPing, WebSocket)
		must(t, err)
		got := make([]byte, len("read on"))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "read on" {
			t.Fatalf("got %q, %v", got, err)
		}
		synctest.Wait() // the Pong is stuck by now
		if n, err := c.Write(make([]byte, 100_000)); err != nil {
			t.Errorf("%v after %d bytes", err, n)
		}
		c.Close()
		<-over
		if total != 100_000 || !strings.HasSuffix(pongs, "2") { // the first may be left out
			t.Errorf("got %d bytes and pongs %q", total, pongs)
		}
	})
}

// TestCloseWhileStuck bounds Close against a server that reads nothing.
func TestCloseWhileStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		c, _, err := pipeTarget(func(*tls.Conn) { <-over }).Connect(t.Context(), ALPN, WebSocket)
		must(t, err)
		start := time.Now()
		c.Close()
		if took := time.Since(start); took > wsCloseWait {
			t.Errorf("took %v", took)
		}
		close(over)
	})
}

// TestPeerCloses checks the answer to a close frame and writes behind it.
func TestPeerCloses(t *testing.T) {
	answer := make(chan wsFrame, 1)
	c := connectTo(t, ALPN, func(c *tls.Conn) {
		io.WriteString(c, closeFrame(1001, ""))
		f, _ := readFrame(c)
		answer <- f
		io.Copy(io.Discard, c)
	})
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read: %v", err)
	}
	if diff := cmp.Diff(wsFrame{finClose, true, "\x03\xe9"}, <-answer); diff != "" {
		t.Error(diff)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write: %v", err)
	}
}

// TestCloseWhileBusy closes a stream amid a blocked read and a blocked write.
func TestCloseWhileBusy(t *testing.T) {
	c := connectTo(t, ALPN, func(*tls.Conn) { <-t.Context().Done() })
	started := make(chan struct{}, 2)
	results := make(chan error, 2)
	go func() {
		started <- struct{}{}
		_, err := c.Read(make([]byte, 1))
		results <- err
	}()
	go func() {
		started <- struct{}{}
		_, err := c.Write(make([]byte, 64<<20))
		results <- err
	}()
	<-started
	<-started
	begin := time.Now()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { c.Close() })
	}
	wg.Wait()
	for range 2 {
		if err := <-results; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if took := time.Since(begin); took > 4*wsCloseWait {
		t.Errorf("took %v", took)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
}

func TestWebSocketDeadlines(t *testing.T) {
	t.Run("read", func(t *testing.T) {
		c := connectTo(t, ALPN, func(*tls.Conn) { <-t.Context().Done() })
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		if ne, ok := err.(net.Error); !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !ne.Timeout() {
			t.Errorf("got %v", err)
		}
	})
	t.Run("write in progress", func(t *testing.T) {
		c := connectTo(t, ALPN, func(*tls.Conn) { <-t.Context().Done() })
		first := make(chan struct{})
		got := make(chan error, 1)
		go func() {
			c.Write([]byte("x"))
			close(first)
			_, err := c.Write(make([]byte, 64<<20))
			got <- err
		}()
		<-first
		c.SetDeadline(time.Now().Add(10 * time.Millisecond))
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWebSocketAddresses(t *testing.T) {
	c := connectTo(t, ALPN, func(c *tls.Conn) { io.Copy(io.Discard, c) })
	outer, ok := c.(interface{ NetConn() net.Conn }).NetConn().(*conn.TLS)
	if !ok || c.LocalAddr() != outer.LocalAddr() || c.RemoteAddr() != outer.RemoteAddr() {
		t.Errorf("local %v, remote %v, below %T", c.LocalAddr(), c.RemoteAddr(), outer)
	}
}

// replay is a connection whose other end answers the WebSocket request and
// then sends after, whatever it gets.
type replay struct {
	net.Conn // nil
	after    []byte
	in       *bytes.Reader
}

func (r *replay) Write(p []byte) (int, error) {
	if r.in == nil {
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(p)))
		if err != nil {
			return 0, err
		}
		r.in = bytes.NewReader(append([]byte(switched(req)), r.after...))
	}
	return len(p), nil
}
func (r *replay) Read(p []byte) (int, error)       { return r.in.Read(p) }
func (r *replay) Close() error                     { return nil }
func (r *replay) SetDeadline(time.Time) error      { return nil }
func (r *replay) SetWriteDeadline(time.Time) error { return nil }
func (r *replay) SetReadDeadline(time.Time) error  { return nil }

func FuzzWebSocketStream(f *testing.F) {
	f.Add([]byte(makeFrame(finBinary, "hello")+makeFrame(finPing, "teleport")+closeFrame(1000, "")), uint8(7))
	f.Add([]byte(makeFrame(0x02, "a")+makeFrame(0x80, "b")+makeFrame(finText, "c")), uint8(0))
	f.Add([]byte("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		tgt := Target{Addr: "proxy.test:443"}
		c, err := tgt.connectWebSocket(t.Context(), &replay{after: in}, ALPN)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := readAllIn(c, int(size)+1)
		if len(got) > len(in) {
			t.Fatalf("%d bytes out of %d", len(got), len(in))
		}
		if _, again := c.Read(make([]byte, 1)); again == nil || err != nil && again != err {
			t.Fatalf("%v, then %v", err, again)
		}
		// The frames up to the first one that is not plain come out whole.
		var want []byte
		for r := bytes.NewReader(in); ; {
			if r.Len() > 9 { // readFrame takes what a length announces
				if h := in[len(in)-r.Len():]; h[1]&0x7f == 127 && binary.BigEndian.Uint64(h[2:]) > uint64(r.Len()) {
					break
				}
			}
			f, err := readFrame(r)
			if err != nil || f.First != finBinary || f.Masked {
				break
			}
			want = append(want, f.Payload...)
		}
		if !bytes.HasPrefix(got, want) {
			t.Fatalf("got %q, want %q in front", got, want)
		}
	})
}

func BenchmarkWebSocket(b *testing.B) {
	up := make(chan net.Conn, 1)
	c := connectVia(b, &Handler{Serve: passTo(up)}, ALPN, WebSocket)
	benchStream(b, c, <-up)
}

// BenchmarkLegacy has the same outer TLS as BenchmarkWebSocket and no frames.
func BenchmarkLegacy(b *testing.B) {
	up := make(chan net.Conn, 1)
	c := connectVia(b, &Handler{Serve: passTo(up)}, ALPN, Legacy)
	benchStream(b, c, <-up)
}

// A frame that is cut counts for what of it was sent: the peer may have read it.
func TestWebSocketWriteCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, client := range []bool{true, false} {
			a, b := net.Pipe()
			c := newWSConn(a, client)
			header := 2
			if client {
				header += 4
			}
			go io.ReadFull(b, make([]byte, header+3))
			c.SetWriteDeadline(time.Now().Add(time.Second))
			if n, err := c.Write([]byte("hello")); n != 3 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("client %v: wrote %d, %v", client, n, err)
			}
			if n, err := c.Write([]byte("x")); n != 0 || err == nil {
				t.Errorf("client %v: then %d, %v", client, n, err)
			}
			c.Close()
			b.Close()
		}
	})
}
