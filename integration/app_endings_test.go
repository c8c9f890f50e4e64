//go:build linux

package integration

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gorilla/websocket"
)

// TestAppSignals: the first signal lets running answers come to their end, the
// second one cuts them.
func TestAppSignals(t *testing.T) {
	start := func(t *testing.T, args ...string) (*program, string) {
		p := launch(t, pick(t, appTransports, "raw").options(), append([]string{tshxPath, "proxy", "app", appWeb}, args...)...)
		return p, p.lineAfter("address: ")
	}
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run("idle "+s.String(), func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			events := filepath.Join(t.TempDir(), "events")
			p, addr := start(t, "--events", events)
			resp, err := appClient(t).Get("http://" + addr + "/hello") // whose connection is kept
			check(t, err)
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			p.signal(s)
			if code := p.wait(); code != 0 || len(says(p)) > 0 {
				t.Errorf("exit code %d, said %q", code, p.stderr.String())
			}
			// Not cut at the end of the drain, which therefore did not wait for it.
			log, err := os.ReadFile(events)
			if err != nil || !strings.Contains(string(log), `"reason":"eof"`) || strings.Contains(string(log), `"reason":"drain"`) {
				t.Errorf("%v, %s", err, log)
			}
			if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("the listener is still there: %v", err)
			}
		})
	}
	t.Run("download", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		p, addr := start(t)
		g := newAppGate(t)
		resp, err := appClient(t).Get("http://" + addr + "/flow?gate=" + g.id)
		check(t, err)
		defer resp.Body.Close()
		p.signal(syscall.SIGTERM)
		p.await("draining ")
		g.open <- struct{}{}
		if n, err := io.Copy(io.Discard, resp.Body); n != 2*flowHalf || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		if code := p.wait(); code != 0 { // the kept connection holds nothing up
			t.Errorf("exit code %d", code)
		}
		oneLine(t, p.stderr.String(), `1 connection.*interrupt again`)
	})
	t.Run("upload", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		p, addr := start(t)
		g := newAppGate(t)
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() {
			resp, err := appClient(t).Post("http://"+addr+"/seen?gate="+g.id, "text/plain", r)
			if err == nil {
				if resp.StatusCode != http.StatusOK {
					err = errors.New(resp.Status)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			done <- err
		}()
		_, err := io.WriteString(w, "first half ")
		check(t, err)
		<-g.started
		p.signal(syscall.SIGTERM)
		p.await("draining ")
		_, err = io.WriteString(w, "second half")
		check(t, err)
		w.Close()
		check(t, <-done)
		if code := p.wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("websocket", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		p, addr := start(t)
		c := dialWebSocket(t, "http://"+addr)
		p.signal(syscall.SIGTERM)
		p.await("draining ")
		check(t, c.WriteMessage(websocket.TextMessage, []byte("still there?")))
		if _, text, err := c.ReadMessage(); string(text) != "still there?" {
			t.Errorf("%q, %v", text, err)
		}
		check(t, c.WriteMessage(websocket.TextMessage, []byte("close 1000")))
		var end *websocket.CloseError
		if _, _, err := c.ReadMessage(); !errors.As(err, &end) || end.Code != 1000 {
			t.Errorf("%v", err)
		}
		c.Close()
		if code := p.wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	for _, tt := range []struct{ name, query string }{{"with a length", "&length"}, {"in chunks", ""}} {
		t.Run("second, "+tt.name, func(t *testing.T) {
			t.Parallel()
			need(t, "curl")
			nothingLeft(t)
			p, addr := start(t)
			g := newAppGate(t)
			k := launch(t, options{}, "curl", "-q", "-sS", "-o", filepath.Join(t.TempDir(), "x"), "http://"+addr+"/flow?gate="+g.id+tt.query)
			<-g.started
			p.signal(syscall.SIGINT)
			p.await("draining ")
			eventually(patience, func() bool { p.signal(syscall.SIGINT); return p.ended() })
			if code := p.wait(); code != codeInterrupted {
				t.Errorf("exit code %d, want %d", code, codeInterrupted)
			}
			if code := k.wait(); code != 18 && code != 56 {
				t.Errorf("curl: exit code %d, want 18 or 56", code)
			}
			if err := <-g.ended; err == nil {
				t.Error("the application was not told")
			}
		})
	}
}

// TestAppCommand: a command gets the address, and its exit code is that of tshx.
func TestAppCommand(t *testing.T) {
	need(t, "curl")
	for _, tt := range []struct {
		name string
		args []string
		out  string
		code int
	}{
		{"arguments", []string{"curl", "-qsS", "http://{addr}/hello"}, "hello\n", 0},
		{"url", []string{"curl", "-qsS", "{url}/hello"}, "hello\n", 0},
		{"environment", []string{"sh", "-c", "curl -qsS http://$TSHX_HOST:$TSHX_PORT/hello; exit 7"}, "hello\n", 7},
		{"fails", []string{"curl", "-qsSf", "http://{addr}/status?code=500"}, "", 22},
		{"crashes", []string{"sh", "-c", "kill -KILL $$"}, "", 128 + 9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			p := launch(t, pick(t, appTransports, "websocket nginx").options(), append([]string{tshxPath, "proxy", "app", appWeb, "--"}, tt.args...)...)
			if code := p.wait(); code != tt.code || p.stdout.String() != tt.out {
				t.Errorf("exit code %d, %q", code, p.stdout.String())
			}
			if strings.Contains(p.stderr.String(), "tshx: ") {
				t.Errorf("said %q", p.stderr.String())
			}
		})
	}
	t.Run("leaves a download behind", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		g := newAppGate(t)
		p := launch(t, pick(t, appTransports, "raw").options(), tshxPath, "proxy", "app", appWeb, "--",
			"sh", "-c", "curl -qsS -o /dev/null 'http://{addr}/flow?gate="+g.id+"' & read x; exit 3")
		if code := p.wait(); code != 3 { // its standard input is empty
			t.Errorf("exit code %d", code)
		}
	})
}

// TestAppSocket: HTTP goes over a unix socket, too.
func TestAppSocket(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	path := filepath.Join(t.TempDir(), "app.sock")
	p := pick(t, appTransports, "legacy nginx").start(t, "proxy", "app", appWeb, "--listen", "unix:"+path)
	p.lineAfter("address: ")
	if out := mustCurl(t, "--unix-socket", path, "http://localhost/hello"); out != "hello\n" {
		t.Errorf("%q", out)
	}
}
