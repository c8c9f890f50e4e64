package appproxy_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"

	"tshx/internal/conn"
)

// rawHead reads the head of a request as it is on the wire.
func rawHead(br *bufio.Reader) string {
	var head strings.Builder
	for {
		line, err := br.ReadString('\n')
		head.WriteString(line)
		if err != nil || line == "\r\n" {
			return head.String()
		}
	}
}

// The application sees what the client wrote, but for what is between neighbours.
func TestRequestBytes(t *testing.T) {
	for _, tt := range []struct{ sent, arrives string }{
		{
			"GET / HTTP/1.1\r\nHost: localhost:99\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: localhost:99\r\n\r\n",
		},
		{
			"GET /a%2Fb//c|d\"ü;x?q=a;b&w=%zz&& HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: a=b\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: h\r\nX-Forwarded-Proto: https\r\n\r\n",
			"GET /a%2Fb//c|d\"ü;x?q=a;b&w=%zz&& HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: a=b\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: h\r\nX-Forwarded-Proto: https\r\n\r\n",
		},
		{
			"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic eA==\r\nTe: trailers, gzip\r\nAuthorization: Bearer x\r\n\r\n",
			"GET /x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nTe: trailers\r\n\r\n",
		},
		{
			"GET /h2c HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
			"GET /h2c HTTP/1.1\r\nHost: localhost\r\n\r\n",
		},
		{
			"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
		},
		{
			"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nUser-Agent: x\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: x\r\nContent-Length: 0\r\n\r\n",
		},
		{
			"GET /old HTTP/1.0\r\nHost: localhost\r\n\r\n",
			"GET /old HTTP/1.1\r\nHost: localhost\r\n\r\n",
		},
		{
			"GET http://localhost/absolute HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"GET /absolute HTTP/1.1\r\nHost: localhost\r\n\r\n",
		},
	} {
		heads := make(chan string, 1)
		w := newWorld(t, nil, func(w *world) {
			w.raw = func(c net.Conn) {
				heads <- rawHead(bufio.NewReader(c))
				io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		})
		_, br := w.dial(tt.sent)
		if line, err := br.ReadString('\n'); !strings.HasSuffix(line, " 204 No Content\r\n") || err != nil {
			t.Errorf("%q answered %q, %v", tt.sent, line, err)
		}
		if got := <-heads; got != tt.arrives {
			t.Errorf("%q\narrived as %q\nwant       %q", tt.sent, got, tt.arrives)
		}
	}
}

// The client gets what the application answered, and no more.
func TestResponseBytes(t *testing.T) {
	for _, tt := range []struct{ request, answer, arrives string }{
		{"GET / HTTP/1.1", "200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 OK\r\nContent-Length: 2\r\n\r\nhi"},
		{"GET / HTTP/1.1", "200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\nX-B: 1\r\nX-B: 2\r\n\r\n\x1f\x8b", "200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\nX-B: 1\r\nX-B: 2\r\n\r\n\x1f\x8b"},
		{"HEAD / HTTP/1.1", "200 OK\r\nContent-Length: 1234\r\nEtag: \"x\"\r\n\r\n", "200 OK\r\nContent-Length: 1234\r\nEtag: \"x\"\r\n\r\n"},
		{"GET / HTTP/1.1", "304 Not Modified\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nEtag: \"x\"\r\n\r\n", "304 Not Modified\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nEtag: \"x\"\r\n\r\n"},
		{"GET / HTTP/1.1", "302 Found\r\nContent-Length: 0\r\nLocation: https://web.proxy.example.com/login\r\nSet-Cookie: a=b; Secure\r\nSet-Cookie: c=d\r\n\r\n", "302 Found\r\nContent-Length: 0\r\nLocation: https://web.proxy.example.com/login\r\nSet-Cookie: a=b; Secure\r\nSet-Cookie: c=d\r\n\r\n"},
		{"GET / HTTP/1.1", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		{"GET / HTTP/1.0", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "200 OK\r\n\r\nhi"},
		{
			"GET / HTTP/1.1",
			"103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
			"103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		},
	} {
		w := newWorld(t, nil, func(w *world) {
			w.raw = func(c net.Conn) {
				rawHead(bufio.NewReader(c))
				io.WriteString(c, "HTTP/1.1 "+tt.answer)
				io.Copy(io.Discard, c)
			}
		})
		c, br := w.dial(tt.request + "\r\nHost: localhost\r\n\r\n")
		// net/http says HTTP/1.0 to a client of that.
		want := tt.request[strings.LastIndexByte(tt.request, ' ')+1:] + " " + tt.arrives
		got := make([]byte, len(want))
		n, _ := io.ReadFull(br, got)
		if string(got[:n]) != want {
			t.Errorf("%s: %q\narrived as %q\nwant       %q", tt.request, tt.answer, got[:n], want)
		}
		c.Close()
	}
}

func TestKeepAlive(t *testing.T) {
	w := newWorld(t, hello, nil)
	c, br := w.dial("")
	for range 3 {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, res.Body); body != "hello" {
			t.Errorf("%q", body)
		}
	}
	if n := w.web.Load(); n != 1 {
		t.Errorf("%d connections to the proxy", n)
	}
}

// Bodies of both directions at once, of all sizes, with trailers both ways.
func TestBodies(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "X-Sum")
		h := sha256.New()
		http.NewResponseController(rw).EnableFullDuplex()
		_, err := io.Copy(io.MultiWriter(h, rw), r.Body)
		if err != nil {
			t.Error(err)
		}
		rw.Header().Set("X-Sum", fmt.Sprintf("%x", h.Sum(nil)))
		rw.Header().Set(http.TrailerPrefix+"X-Client-Sum", r.Trailer.Get("X-Sum"))
	}, nil)
	client := w.client()
	for _, size := range []int{1, 64 << 10, 64<<10 + 1, 8 << 20} {
		for _, known := range []bool{true, false} {
			body := make([]byte, size)
			rand.NewChaCha8([32]byte{}).Read(body)
			sum := fmt.Sprintf("%x", sha256.Sum256(body))
			r, _ := http.NewRequest("POST", w.url("/"), bytes.NewReader(body))
			if !known {
				r.Body, r.ContentLength = io.NopCloser(r.Body), -1
				r.Trailer = http.Header{"X-Sum": {sum}}
			}
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if got := readAll(t, res.Body); got != string(body) {
				t.Errorf("%d bytes of %d came back", len(got), size)
			}
			if res.Trailer.Get("X-Sum") != sum || !known && res.Trailer.Get("X-Client-Sum") != sum {
				t.Errorf("%d bytes, trailer %v", size, res.Trailer)
			}
		}
	}
}

// A client need not announce its trailers.
func TestTrailerNotAnnounced(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprint(rw, string(body), " ", r.Trailer, " ", err)
	}, nil)
	_, br := w.dial("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Late: yes\r\n\r\n")
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, res.Body); got != "hi map[X-Late:[yes]] <nil>" {
		t.Error(got)
	}
}

// A body that nobody wants is not sent: the application decides.
func TestExpectContinue(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			rw.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		io.Copy(rw, r.Body)
	}, nil)
	for path, want := range map[string]string{"/yes": "200 body true", "/no": "413  false"} {
		body := &watchedBody{Reader: strings.NewReader("body")}
		r, _ := http.NewRequest("POST", w.url(path), body)
		r.ContentLength = 4
		r.Header.Set("Expect", "100-continue")
		res, err := w.client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(res.StatusCode, " ", readAll(t, res.Body), " ", body.read); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

type watchedBody struct {
	io.Reader
	read bool
}

func (b *watchedBody) Read(p []byte) (int, error) { b.read = true; return b.Reader.Read(p) }

// An answer may come before the upload is over, and both go on.
func TestEarlyAnswer(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		http.NewResponseController(rw).EnableFullDuplex()
		io.WriteString(rw, "early ")
		http.NewResponseController(rw).Flush()
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(rw, n, err)
	}, nil)
	pr, pw := io.Pipe()
	r, _ := http.NewRequest("PUT", w.url("/"), pr)
	res, err := w.client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	early := make([]byte, 6)
	if _, err := io.ReadFull(res.Body, early); err != nil || string(early) != "early " {
		t.Fatalf("%q, %v", early, err)
	}
	go func() {
		pw.Write(make([]byte, 1<<20))
		pw.Close()
	}()
	if got := readAll(t, res.Body); got != "1048576 <nil>" {
		t.Error(got)
	}
}

// A refusal arrives although the client still sends.
func TestRefusedUpload(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		http.Error(rw, "too large", http.StatusRequestEntityTooLarge)
	}, nil)
	for range 5 {
		res, err := w.client().Post(w.url("/"), "text/plain", bytes.NewReader(make([]byte, 16<<20)))
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, res.Body); res.StatusCode != 413 || body != "too large\n" {
			t.Errorf("%d %q", res.StatusCode, body)
		}
	}
	if len(w.reports) > 0 {
		t.Error(<-w.reports)
	}
}

// Each event arrives at once, and the end of the client is seen by the application.
func TestEvents(t *testing.T) {
	next, gone := make(chan bool), make(chan bool)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for range next {
			io.WriteString(rw, "data: x\n\n")
			http.NewResponseController(rw).Flush()
		}
		<-r.Context().Done()
		close(gone)
	}, nil)
	go func() { next <- true }()
	res, err := w.client().Get(w.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if i > 0 {
			next <- true
		}
		event := make([]byte, 9)
		if _, err := io.ReadFull(res.Body, event); err != nil || string(event) != "data: x\n\n" {
			t.Fatalf("%q, %v", event, err)
		}
	}
	close(next)
	res.Body.Close()
	<-gone
}

// An upload that the client breaks off ends at the application, as a break, and is
// no failure of ours.
func TestClientAborts(t *testing.T) {
	ended := make(chan error, 1)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}, nil)
	for _, framing := range []string{"Content-Length: 1000000", "Transfer-Encoding: chunked"} {
		for name, leave := range map[string]func(net.Conn){"reset": func(c net.Conn) { conn.Abort(c) }, "end": func(c net.Conn) { c.Close() }} {
			c, _ := w.dial("POST / HTTP/1.1\r\nHost: localhost\r\n" + framing + "\r\n\r\n5\r\nhello\r\n")
			leave(c)
			if err := <-ended; err == nil {
				t.Errorf("%s, %s: the upload looks complete", framing, name)
			}
			<-w.closed
		}
	}
	if len(w.reports) > 0 {
		t.Errorf("reported %v", <-w.reports)
	}
}

// An answer that breaks off does not look complete, however it is framed.
func TestBreaks(t *testing.T) {
	for _, version := range []string{"1.0", "1.1"} {
		for name, head := range map[string]string{
			"length":        "Content-Length: 1000\r\n\r\nhalf",
			"chunked":       "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
			"until the end": "Connection: close\r\n\r\nhalf",
		} {
			for how, end := range map[string]func(net.Conn){"reset": func(c net.Conn) { conn.Abort(c) }, "cut": func(c net.Conn) { socket(c).Close() }} {
				w := newWorld(t, nil, func(w *world) {
					w.raw = func(c net.Conn) {
						rawHead(bufio.NewReader(c))
						io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head)
						end(c)
					}
				})
				_, br := w.dial("GET / HTTP/" + version + "\r\nHost: localhost\r\n\r\n")
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					continue // it did not get as far
				}
				if b, err := io.ReadAll(res.Body); err == nil {
					t.Errorf("HTTP/%s, %s, %s: %q looks complete", version, name, how, b)
				}
			}
		}
	}
}

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

// WebSocket and others: bytes both ways, and each side may end first.
func TestUpgrade(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		c, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Accept: "+r.Header.Get("Sec-Websocket-Key")+"\r\n\r\nearly ")
		buf.Flush()
		in, err := io.ReadAll(buf)
		fmt.Fprint(buf, "heard ", string(in), err)
		buf.Flush()
	}, nil)
	c, br := w.dial("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Key: k\r\n\r\nand ")
	res, err := http.ReadResponse(br, &http.Request{Method: "GET"})
	if err != nil || res.StatusCode != 101 || res.Header.Get("Sec-Websocket-Accept") != "k" {
		t.Fatalf("%v, %v", res, err)
	}
	io.WriteString(c, "late")
	conn.CloseWrite(c)
	if b, err := io.ReadAll(br); string(b) != "early heard and late<nil>" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if e := <-w.closed; e.Sent == 0 || e.Received == 0 || e.Err != nil {
		t.Errorf("closed %+v", e)
	}
}

// Writes are made once, reads are repeated where a kept connection has broken.
func TestBrokenIdle(t *testing.T) {
	var requests chan string
	w := newWorld(t, nil, func(w *world) {
		requests = make(chan string, 100)
		w.raw = func(c net.Conn) {
			br := bufio.NewReader(c)
			for n := 0; ; n++ {
				r, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				io.Copy(io.Discard, r.Body)
				requests <- r.Method
				if n > 0 {
					conn.Abort(c) // in place of an answer
					return
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		}
	})
	client := w.client()
	for _, tt := range []struct {
		method string
		codes  []int
		made   int
	}{{"GET", []int{200, 200}, 3}, {"POST", []int{200, 502}, 2}} {
		for _, code := range tt.codes {
			r, _ := http.NewRequest(tt.method, w.url("/"), strings.NewReader(""))
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if readAll(t, res.Body); res.StatusCode != code {
				t.Errorf("%s: %s", tt.method, res.Status)
			}
		}
		if n := len(requests); n != tt.made {
			t.Errorf("%s: %d requests", tt.method, n)
		}
		for len(requests) > 0 {
			<-requests
		}
	}
}
