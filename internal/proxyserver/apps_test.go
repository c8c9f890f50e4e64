package proxyserver

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/conn"
)

// appServer starts an HTTP app.
func appServer(t testing.TB, h http.HandlerFunc) App {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return App{Name: "app", URI: s.URL}
}

// An app that hangs up on its idle connections, here on each second request of
// one, is not noticed by clients, and no request that writes is made twice.
func TestAppBrokenIdle(t *testing.T) {
	var used sync.Map
	var hungUp atomic.Bool
	var writes atomic.Int64
	f := start(t, Options{Apps: []App{appServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" {
			writes.Add(1)
		}
		if _, again := used.LoadOrStore(r.RemoteAddr, true); again {
			hungUp.Store(true)
			panic(http.ErrAbortHandler)
		}
		io.Copy(w, r.Body)
	})}})
	c := f.client(newUser(t).tls(appRoute("app")), "http/1.1")
	made := 0
	for _, tt := range []struct{ method, body string }{
		{"GET", ""}, {"GET", ""}, {"POST", "x"}, {"POST", "x"}, {"PUT", "x"}, {"PATCH", "x"}, {"GET", ""}, {"DELETE", ""}, {"POST", ""},
	} {
		if tt.method != "GET" {
			made++
		}
		r, _ := http.NewRequest(tt.method, "https://"+f.addr+"/", io.MultiReader(strings.NewReader(tt.body))) // of no known length
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || string(b) != tt.body {
			t.Errorf("%s: %s %s", tt.method, resp.Status, b)
		}
	}
	if !hungUp.Load() {
		t.Error("no connection was used again")
	}
	if n := writes.Load(); n != int64(made) {
		t.Errorf("%d requests that write were made of %d", n, made)
	}
}

// A stream arrives line by line, however long it will be, by either version of
// HTTP, and a broken one does not look complete.
func TestAppStreams(t *testing.T) {
	for _, version := range []string{"http/1.1", "h2"} {
		for _, length := range []string{"", "100"} {
			t.Run(version+" length "+length, func(t *testing.T) {
				next := make(chan string)
				f := start(t, Options{Apps: []App{appServer(t, func(w http.ResponseWriter, r *http.Request) {
					if length != "" {
						w.Header().Set("Content-Length", length)
					}
					for line := range next {
						io.WriteString(w, line)
						http.NewResponseController(w).Flush()
					}
					panic(http.ErrAbortHandler)
				})}})
				go func() { next <- "first\n" }()
				resp, err := f.client(newUser(t).tls(appRoute("app")), version).Get("https://" + f.addr + "/")
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				br := bufio.NewReader(resp.Body)
				for _, want := range []string{"first\n", "second\n"} {
					if got, err := br.ReadString('\n'); got != want {
						t.Fatalf("%q, %v", got, err)
					}
					if want == "first\n" {
						next <- "second\n" // only once the first is here
					}
				}
				close(next)
				if b, err := io.ReadAll(br); err == nil {
					t.Errorf("%q looks complete", b)
				}
			})
		}
	}
}

// Bytes behind a change of protocol go both ways with their ends, and what
// breaks does not look complete.
func TestAppUpgrade(t *testing.T) {
	serve := func(f func(c net.Conn, buf *bufio.ReadWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			c, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if r.Header.Get("X-Forwarded-Proto") != "https" || r.Header.Get("X-Own") != "yes" {
				t.Errorf("header %v", r.Header)
			}
			fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nearly answer ")
			buf.Flush()
			f(c, buf)
		}
	}
	ask := func(t *testing.T, f *fixture) (io.ReadWriter, func() error, *bufio.Reader) {
		c := f.dial(newUser(t).tls(appRoute("app")), "http/1.1")
		io.WriteString(c, "GET /chat HTTP/1.1\r\nHost: app.localhost\r\nConnection: upgrade, X-Hop\r\nX-Hop: no\r\nX-Own: yes\r\nUpgrade: chat\r\n\r\nearly ")
		br := bufio.NewReader(c)
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "chat" {
			t.Fatalf("%v, %v", resp, err)
		}
		return c, c.CloseWrite, br
	}
	t.Run("ends", func(t *testing.T) {
		f := start(t, Options{Apps: []App{appServer(t, serve(func(_ net.Conn, buf *bufio.ReadWriter) {
			in, err := io.ReadAll(buf)
			if err != nil {
				t.Error(err)
			}
			fmt.Fprintf(buf, "heard %s", in)
			buf.Flush()
		}))}})
		c, closeWrite, br := ask(t, f)
		io.WriteString(c, "and late")
		closeWrite()
		if got, err := io.ReadAll(br); err != nil || string(got) != "early answer heard early and late" {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("broken", func(t *testing.T) {
		f := start(t, Options{Apps: []App{appServer(t, serve(func(c net.Conn, buf *bufio.ReadWriter) {
			buf.ReadString('\n')
			conn.Abort(c)
		}))}})
		c, _, br := ask(t, f)
		io.WriteString(c, "go\n")
		if b, err := io.ReadAll(br); err == nil {
			t.Errorf("%q looks complete", b)
		}
	})
}

// What the app gets is what the client sent, and the other way round.
func TestAppIntact(t *testing.T) {
	type seen struct {
		URI, Body string
		Header    http.Header
		Trailer   http.Header
	}
	var got seen
	f := start(t, Options{Apps: []App{appServer(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = seen{r.RequestURI, string(b), r.Header, r.Trailer}
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "answer")
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Late", "more")
	})}})
	c := f.dial(newUser(t).tls(appRoute("app")), "http/1.1")
	io.WriteString(c, "POST /a%2Fb//c?x=1;y=%zz HTTP/1.1\r\nHost: app.localhost:1\r\nTe: trailers\r\nTransfer-Encoding: chunked\r\n"+
		"Trailer: X-Mark\r\nConnection: X-Hop\r\nX-Hop: no\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nX-Forwarded-Port: 80\r\nCookie: a=b; c=d\r\n\r\n4\r\nbody\r\n0\r\nX-Mark: here\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "answer" || resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Late") != "more" {
		t.Errorf("%q %v, %v", b, resp.Trailer, err)
	}
	host, _, _ := net.SplitHostPort(c.LocalAddr().String())
	want := seen{"/a%2Fb//c?x=1;y=%zz", "body", http.Header{
		"Te": {"trailers"}, "Cookie": {"a=b; c=d"}, "Connection": {"close"}, // a request that writes has its connection for itself
		"X-Forwarded-For": {host}, "X-Forwarded-Host": {"app.localhost:1"}, "X-Forwarded-Proto": {"https"},
	}, http.Header{"X-Mark": {"here"}}}
	got.Header.Del("Trailer") // there in some versions of net/http
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A client that waits to be asked for a body is asked by the app, or not at all.
func TestAppContinue(t *testing.T) {
	f := start(t, Options{Apps: []App{appServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		io.Copy(w, r.Body)
	})}})
	for _, tt := range []struct{ path, want string }{{"/no", "HTTP/1.1 417 "}, {"/yes", "HTTP/1.1 100 "}} {
		c := f.dial(newUser(t).tls(appRoute("app")), "http/1.1")
		fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: app.localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", tt.path)
		br := bufio.NewReader(c)
		line, err := br.ReadString('\n')
		if !strings.HasPrefix(line, tt.want) {
			t.Fatalf("%s: %q, %v", tt.path, line, err)
		}
		if tt.path == "/no" {
			continue
		}
		br.ReadString('\n')
		io.WriteString(c, "body")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "body" {
			t.Errorf("%s %q, %v", resp.Status, b, err)
		}
	}
}

// An app that answers before it has the whole body, and takes no more of it, is
// heard.
func TestAppEarlyAnswer(t *testing.T) {
	app := backend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		if _, err := http.ReadRequest(br); err == nil {
			io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		}
	})
	f := start(t, Options{Apps: []App{{Name: "app", URI: "http://" + app}}})
	for range 20 { // by chance the answer is there before the write fails
		body := bytes.NewReader(make([]byte, 8<<20))
		resp, err := f.client(newUser(t).tls(appRoute("app")), "h2").Post("https://"+f.addr+"/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 413 || string(b) != "big" || err != nil {
			t.Fatalf("%s %q, %v", resp.Status, b, err)
		}
	}
}
