package kubeproxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"tshx/internal/conn"
)

// exec asks for another protocol as kubectl does, with early right behind it.
func (w *world) exec(protocol, early string) (*tls.Conn, *bufio.Reader, *http.Response) {
	w.t.Helper()
	c := tls.Client(w.connect(), w.clientTLS())
	r, _ := http.NewRequest("POST", w.Proxy.URL(0)+"/exec?command=sh", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {protocol}, "X-Stream-Protocol-Version": {"v4.channel.k8s.io"}}
	var buf bytes.Buffer
	r.Write(&buf)
	buf.WriteString(early)
	if _, err := c.Write(buf.Bytes()); err != nil {
		w.t.Fatal(err)
	}
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return c, br, res
}

// switchTo answers 101 with early right behind it, and leaves the rest to serve.
func switchTo(t *testing.T, early string, serve func(c *bufio.ReadWriter, half func(), abort func())) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "/exec?command=sh" || r.Header.Get("X-Stream-Protocol-Version") != "v4.channel.k8s.io" {
			t.Errorf("asked for %s with %v", r.RequestURI, r.Header)
		}
		c, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+r.Header.Get("Upgrade")+
			"\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"+early)
		buf.Flush()
		serve(buf, func() { conn.CloseWrite(c) }, func() { conn.Abort(c) })
	}
}

// Bytes that come with the request or with the answer are not lost, and each side
// may end its direction first.
func TestUpgrade(t *testing.T) {
	for _, protocol := range []string{"SPDY/3.1", "websocket"} {
		t.Run(protocol, func(t *testing.T) {
			w := newWorld(t, switchTo(t, "early answer ", func(c *bufio.ReadWriter, half, _ func()) {
				in, err := io.ReadAll(c)
				io.WriteString(c, "heard "+string(in))
				c.Flush()
				if err != nil {
					t.Error(err)
				}
			}), nil)
			c, br, res := w.exec(protocol, "early ")
			if res.StatusCode != 101 || res.Header.Get("Upgrade") != protocol || res.Header.Get("X-Stream-Protocol-Version") != "v4.channel.k8s.io" {
				t.Fatalf("%s %v", res.Status, res.Header)
			}
			io.WriteString(c, "and late")
			c.CloseWrite()
			if got := readAll(t, io.NopCloser(br)); got != "early answer heard early and late" {
				t.Errorf("%q", got)
			}
			c.Close()
		})
	}
	t.Run("server first", func(t *testing.T) {
		heard := make(chan string, 1)
		w := newWorld(t, switchTo(t, "", func(c *bufio.ReadWriter, half, _ func()) {
			half()
			in, _ := io.ReadAll(c)
			heard <- string(in)
		}), nil)
		c, br, _ := w.exec("SPDY/3.1", "")
		if got := readAll(t, io.NopCloser(br)); got != "" {
			t.Errorf("%q", got)
		}
		io.WriteString(c, "still here")
		c.Close()
		if got := <-heard; got != "still here" {
			t.Errorf("the server got %q", got)
		}
	})
}

// A stream that breaks does not look complete to the client, and one that the
// client leaves ends at the server.
func TestUpgradeBreaks(t *testing.T) {
	w := newWorld(t, switchTo(t, "half of ", func(c *bufio.ReadWriter, _, abort func()) {
		c.ReadString('\n')
		abort()
	}), nil)
	c, br, _ := w.exec("SPDY/3.1", "")
	io.WriteString(c, "go\n")
	if b, err := io.ReadAll(br); err == nil {
		t.Errorf("%q looks complete", b)
	}
	c.Close()

	ended := make(chan error, 1)
	w = newWorld(t, switchTo(t, "x", func(c *bufio.ReadWriter, _, _ func()) {
		_, err := c.ReadByte()
		ended <- err
	}), nil)
	c, br, _ = w.exec("SPDY/3.1", "")
	br.ReadByte()
	conn.Abort(c)
	if err := <-ended; err == nil {
		t.Error("the server got a byte")
	}
}

// A cut ends streams, too, although net/http has forgotten them.
func TestUpgradeCut(t *testing.T) {
	w := newWorld(t, switchTo(t, "x", func(c *bufio.ReadWriter, _, _ func()) { c.ReadByte() }), nil)
	_, br, _ := w.exec("SPDY/3.1", "")
	br.ReadByte()
	w.Proxy.Close()
	if _, err := io.ReadAll(br); err == nil {
		t.Error("looks complete")
	}
	w.waitOpen(0)
}

func TestUpgradeRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		code   int
		body   string // of the server; empty: a Status of ours
	}{
		{"by the server", func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusForbidden)
			io.WriteString(rw, "no exec for you")
		}, 403, "no exec for you"},
		{"other protocol", func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Connection", "Upgrade")
			rw.Header().Set("Upgrade", "chat")
			rw.WriteHeader(http.StatusSwitchingProtocols)
		}, 502, ""},
		{"hung up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.answer, nil)
			c, _, res := w.exec("SPDY/3.1", "")
			body := readAll(t, res.Body)
			if res.StatusCode != tt.code || tt.body != "" && body != tt.body {
				t.Errorf("%s %s", res.Status, body)
			}
			if tt.body == "" && parseStatus(t, body).Code != tt.code {
				t.Error(body)
			}
			// The client's connection goes on.
			r, _ := http.NewRequest("GET", w.Proxy.URL(0)+"/exec", nil)
			r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}}
			if err := r.Write(c); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(c), r)
			if err != nil || res.StatusCode != tt.code {
				t.Errorf("%v, %v", res, err)
			}
			w.waitOpen(0)
		})
	}
}

// A client that leaves while the server thinks leaves nothing behind.
func TestUpgradeGivenUp(t *testing.T) {
	asked, gone := make(chan bool), make(chan bool)
	w := newWorld(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- true
		<-r.Context().Done()
		close(gone)
	}, nil)
	c := tls.Client(w.connect(), w.clientTLS())
	r, _ := http.NewRequest("GET", w.Proxy.URL(0)+"/exec", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	r.Write(c)
	<-asked
	c.Close()
	<-gone
}
