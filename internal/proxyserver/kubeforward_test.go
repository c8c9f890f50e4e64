package proxyserver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tshx/internal/conn"
)

// A stream arrives line by line, however long it will be, and a broken one does
// not look complete.
func TestKubeStreams(t *testing.T) {
	for _, length := range []string{"", "100"} {
		t.Run("length "+length, func(t *testing.T) { testStream(t, length) })
	}
}

func testStream(t *testing.T, length string) {
	next := make(chan string)
	f := start(t, Options{Kubes: []Kube{apiServer(t, "demo", func(w http.ResponseWriter, r *http.Request) {
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		for line := range next {
			io.WriteString(w, line)
			http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	})}})
	tr := &http.Transport{TLSClientConfig: kubeConfig(newUser(t).tls(kubeRoute("demo")))}
	defer tr.CloseIdleConnections()
	r, _ := http.NewRequest("GET", "https://"+f.addr+"/api/v1/pods?watch=true", nil)
	go func() { next <- "first\n" }()
	resp, err := tr.RoundTrip(r)
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
}

// An API server that hangs up on its idle connections, here on each second
// request of one, is not noticed by clients.
func TestKubeBrokenIdle(t *testing.T) {
	var used sync.Map
	var hungUp atomic.Bool
	f := start(t, Options{Kubes: []Kube{apiServer(t, "demo", func(w http.ResponseWriter, r *http.Request) {
		if _, again := used.LoadOrStore(r.RemoteAddr, true); again {
			hungUp.Store(true)
			panic(http.ErrAbortHandler)
		}
	})}})
	for _, tt := range []struct{ method, body string }{{"GET", ""}, {"GET", ""}, {"POST", "x"}, {"POST", "x"}, {"PATCH", "x"}, {"DELETE", ""}} {
		if resp, body := f.kubeDo(kubeRoute("demo"), tt.method, "/", tt.body, nil); resp.StatusCode != 200 {
			t.Errorf("%s: %s %s", tt.method, resp.Status, body)
		}
	}
	if !hungUp.Load() {
		t.Error("no connection was used again")
	}
}

// switchKube answers 101 with early right behind it, and leaves the rest to
// serve.
func switchKube(t testing.TB, early string, serve func(c *bufio.ReadWriter, half, abort func())) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := r.Header
		if r.RequestURI != "/exec?command=sh" || h.Get("X-Stream-Protocol-Version") != "v4.channel.k8s.io" || h.Get("Impersonate-User") != "kate" {
			t.Errorf("asked for %s with %v", r.RequestURI, h)
		}
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n%s", h.Get("Upgrade"), early)
		buf.Flush()
		serve(buf, func() { conn.CloseWrite(c) }, func() { conn.Abort(c) })
	}
}

// kubeUpgrade asks for another protocol, with early right behind the request.
func (f *fixture) kubeUpgrade(protocol, early string) (*tls.Conn, *bufio.Reader, *http.Response) {
	f.t.Helper()
	c, err := tls.Dial("tcp", f.addr, kubeConfig(newUser(f.t).tls(kubeRoute(""))))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	r, _ := http.NewRequest("POST", "https://kube"+kubePathOf(testCluster, "demo", "/exec?command=sh"), nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {protocol}, "X-Stream-Protocol-Version": {"v4.channel.k8s.io"}}
	var buf bytes.Buffer
	r.Write(&buf)
	buf.WriteString(early)
	if _, err := c.Write(buf.Bytes()); err != nil {
		f.t.Fatal(err)
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, r)
	if err != nil {
		f.t.Fatal(err)
	}
	return c, br, resp
}

// Bytes go both ways, those that come early too, and each side may end its
// direction first.
func TestKubeUpgrade(t *testing.T) {
	for _, protocol := range []string{"SPDY/3.1", "websocket"} {
		t.Run(protocol, func(t *testing.T) {
			f := start(t, Options{Kubes: []Kube{apiServer(t, "demo", switchKube(t, "early answer ", func(c *bufio.ReadWriter, _, _ func()) {
				in, err := io.ReadAll(c)
				io.WriteString(c, "heard "+string(in))
				c.Flush()
				if err != nil {
					t.Error(err)
				}
			}))}})
			c, br, resp := f.kubeUpgrade(protocol, "early ")
			if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != protocol || resp.Header.Get("X-Stream-Protocol-Version") == "" {
				t.Fatalf("%s %v", resp.Status, resp.Header)
			}
			io.WriteString(c, "and late")
			c.CloseWrite()
			if got, err := io.ReadAll(br); err != nil || string(got) != "early answer heard early and late" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	t.Run("server first", func(t *testing.T) {
		heard := make(chan string, 1)
		f := start(t, Options{Kubes: []Kube{apiServer(t, "demo", switchKube(t, "", func(c *bufio.ReadWriter, half, _ func()) {
			half()
			in, _ := io.ReadAll(c)
			heard <- string(in)
		}))}})
		c, br, _ := f.kubeUpgrade("SPDY/3.1", "")
		if got, err := io.ReadAll(br); err != nil || len(got) > 0 {
			t.Errorf("%q, %v", got, err)
		}
		io.WriteString(c, "still here")
		c.Close()
		if got := <-heard; got != "still here" {
			t.Errorf("the server got %q", got)
		}
	})
	t.Run("broken", func(t *testing.T) {
		f := start(t, Options{Kubes: []Kube{apiServer(t, "demo", switchKube(t, "half of ", func(c *bufio.ReadWriter, _, abort func()) {
			c.ReadString('\n')
			abort()
		}))}})
		c, br, _ := f.kubeUpgrade("SPDY/3.1", "")
		io.WriteString(c, "go\n")
		if b, err := io.ReadAll(br); err == nil {
			t.Errorf("%q looks complete", b)
		}
	})
	t.Run("proxy ends", func(t *testing.T) {
		ended := make(chan struct{})
		f := start(t, Options{Kubes: []Kube{apiServer(t, "demo", switchKube(t, "x", func(c *bufio.ReadWriter, _, _ func()) {
			c.ReadByte()
			close(ended)
		}))}})
		_, br, _ := f.kubeUpgrade("SPDY/3.1", "")
		br.ReadByte()
		f.Close()
		io.Copy(io.Discard, br) // ends, too
		<-ended
	})
}

// An upgrade that the API server refuses, or takes for another, is told so.
func TestKubeUpgradeRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		code   int
		want   string
	}{
		{"by the server", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no exec for you", http.StatusForbidden) }, 403, "no exec for you"},
		{"other protocol", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "chat")
			w.WriteHeader(http.StatusSwitchingProtocols)
		}, 502, "got \\\"chat\\\""},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, Options{Kubes: []Kube{apiServer(t, "demo", tt.answer)}})
			_, _, resp := f.kubeUpgrade("SPDY/3.1", "")
			defer resp.Body.Close()
			if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != tt.code || !strings.Contains(string(b), tt.want) {
				t.Errorf("%s %q, %v", resp.Status, b, err)
			}
		})
	}
}
