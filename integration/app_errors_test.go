//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tshx/internal/lab"
)

// appAnswers are the forms of what tshx answers itself, by what the client takes.
var appAnswers = []struct {
	name, accept, kind string
	form               func(t *testing.T, body, says string)
}{
	{"json", "application/json", "application/json", func(t *testing.T, body, says string) {
		var answer struct {
			Error struct{ Message, Hint string }
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Error.Message == "" {
			t.Errorf("%v: %s", err, body)
		}
		if text := answer.Error.Message + "; " + answer.Error.Hint; !regexp.MustCompile(says).MatchString(text) {
			t.Errorf("does not match %q: %s", says, text)
		}
	}},
	{"page", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html", func(t *testing.T, body, says string) {
		if !strings.HasPrefix(strings.ToLower(body), "<!doctype html>") || !strings.Contains(body, "color-scheme") {
			t.Errorf("no page for light and dark: %s", body)
		}
		if elsewhere := regexp.MustCompile(`(src|href)=["']?(https?:)?//|@import|url\(`).FindString(body); elsewhere != "" {
			t.Errorf("it loads something: %s", elsewhere)
		}
		if !regexp.MustCompile(says).MatchString(body) {
			t.Errorf("does not match %q: %s", says, body)
		}
	}},
	{"line", "*/*", "text/plain", func(t *testing.T, body, says string) {
		if strings.Count(body, "\n") != 1 || !strings.HasSuffix(body, "\n") || !regexp.MustCompile(says).MatchString(body) {
			t.Errorf("not one line that matches %q: %q", says, body)
		}
	}},
}

// answersItself checks what tshx says in each form, to a read and to a write. They
// wait together.
func answersItself(t *testing.T, url string, code int, says string) {
	t.Helper()
	client := appClient(t)
	var all sync.WaitGroup
	defer all.Wait()
	for _, method := range []string{"GET", "POST"} {
		for _, form := range appAnswers {
			req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
			check(t, err)
			req.Header.Set("Accept", form.accept)
			all.Go(func() {
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != code || !strings.HasPrefix(resp.Header.Get("Content-Type"), form.kind) {
					t.Errorf("%s %s: %s, %q, %v", method, form.name, resp.Status, resp.Header, err)
					return
				}
				form.form(t, string(body), says)
			})
		}
	}
}

// ends makes a listening tshx end by a signal.
func ends(t testing.TB, p *program) {
	t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

// TestAppDown: an application that does not run is a bad gateway.
func TestAppDown(t *testing.T) {
	for _, way := range appTransports {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			url := way.get(t).appURL(t, appDown)
			for _, method := range []string{"GET", "POST"} {
				if out := mustCurl(t, "-X", method, "-o", "/dev/null", "-w", "%{http_code}", url); out != "502" {
					t.Errorf("%s: %s", method, out)
				}
			}
		})
	}
}

// TestAppProxyDown: what is between here and the proxy is told in the form that
// the client takes, and it works again when that is over.
func TestAppProxyDown(t *testing.T) {
	for _, tt := range []struct {
		name string
		to   func(t *testing.T) string
		code int
		says string
	}{
		{"refuses", func(t *testing.T) string { return closedPort(t) }, 502, `reset|refused|EOF`},
		{"hangs up", func(t *testing.T) string { return serve(t, func(c *net.TCPConn) { c.Close() }) }, 502, `reset|EOF|closed`},
		{"is something else", func(t *testing.T) string {
			return serve(t, func(c *net.TCPConn) {
				io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n")
				io.Copy(io.Discard, c)
				c.Close()
			})
		}, 502, `TLS`},
		{"is silent", func(t *testing.T) string {
			return serve(t, func(c *net.TCPConn) { t.Cleanup(func() { c.Close() }) })
		}, 504, `no answer|timed out|timeout|deadline`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			board := newSwitchboard(t, appModern.get(t).direct)
			p := launch(t, appLogin(t, board.addr).options(), tshxPath, "proxy", "app", appWeb)
			url := "http://" + p.lineAfter("address: ") + "/hello"
			mustCurl(t, "-f", url)
			board.to(tt.to(t))
			board.cut()
			answersItself(t, url, tt.code, tt.says)
			board.to(appModern.get(t).direct)
			mustCurl(t, "-f", url)
			ends(t, p)
			if len(says(p)) == 0 {
				t.Error("nothing was said on standard error")
			}
		})
	}
}

// TestAppRelogin: clients are told what has expired and how to renew it, and after
// that it works without a restart. What goes on meanwhile is not cut.
func TestAppRelogin(t *testing.T) {
	const expired = `app (&#34;|&quot;|")web(&#34;|&quot;|") certificate expired .* ago(.|\n)*tsh apps login web`
	for _, name := range []string{"raw", "websocket nginx", "legacy nginx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			way := pick(t, appTransports, name)
			c := appClusterOf(t, way)
			tr, err := c.login(way.addr, lab.HomeOptions{})
			check(t, err)
			p := launch(t, tr.options(), tshxPath, "proxy", "app", appWeb)
			url := "http://" + p.lineAfter("address: ")
			g := newAppGate(t)
			began := time.Now()
			open, err := appClient(t).Get(url + "/flow?gate=" + g.id)
			check(t, err)
			defer open.Body.Close()
			for range 2 {
				check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{TTL: -time.Hour, FreshKey: true}))
				answersItself(t, url+"/hello", http.StatusUnauthorized, expired)
				check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{FreshKey: true}))
				for _, method := range []string{"GET", "POST"} {
					mustCurl(t, "-f", "-X", method, url+"/hello")
				}
			}
			g.open <- struct{}{}
			if n, err := io.Copy(io.Discard, open.Body); n != 2*flowHalf || err != nil {
				t.Errorf("the answer that went on has %d bytes, %v", n, err)
			}
			ends(t, p)
			oncePerWhile(t, p, began, `app "web" certificate expired .* ago.*; run: tsh apps login web`)
		})
	}
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		tr := appLogin(t, appModern.get(t).direct)
		p := launch(t, tr.options(), tshxPath, "proxy", "app", appWeb)
		url := "http://" + p.lineAfter("address: ") + "/hello"
		mustCurl(t, "-f", url)
		execute(t, tr.options(), tshxPath, "apps", "logout", appWeb)
		answersItself(t, url, http.StatusUnauthorized, `certificate not found(.|\n)*tsh apps login web`)
		check(t, appModern.get(t).lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{}))
		mustCurl(t, "-f", url)
		ends(t, p)
	})
}

// TestAppNewCertificate: a certificate that replaces one that is still valid is
// used from the next request on, and connections of the old one are not.
func TestAppNewCertificate(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	tr, made := pick(t, appTransports, "raw").counted(t)
	url := tr.appURL(t, appWeb, "--warm", "0") + "/hello"
	mustCurl(t, "-f", url)
	for range 3 {
		before := made.Load()
		mustCurl(t, "-f", url)
		if n := made.Load() - before; n != 0 {
			t.Errorf("%d new connections with the same certificate", n)
		}
		check(t, appModern.get(t).lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{FreshKey: true}))
		before = made.Load()
		mustCurl(t, "-f", url)
		if n := made.Load() - before; n == 0 {
			t.Error("no new connection with a new certificate")
		}
	}
}

// TestAppTorn: an answer that breaks never looks complete, however its end is
// marked.
func TestAppTorn(t *testing.T) {
	need(t, "curl")
	for _, name := range []string{"raw", "websocket nginx", "legacy nginx", "layer 4"} {
		for _, tt := range []struct{ name, query, version string }{
			{"with a length", "&length", "--http1.1"}, {"in chunks", "", "--http1.1"}, {"until the end", "", "--http1.0"},
		} {
			t.Run(name+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				nothingLeft(t)
				way := pick(t, appTransports, name)
				board := newSwitchboard(t, loopback(way.addr))
				tr, err := appClusterOf(t, way).login(at("localhost", board.addr), lab.HomeOptions{})
				check(t, err)
				p := launch(t, tr.options(), tshxPath, "proxy", "app", appWeb)
				url := "http://" + p.lineAfter("address: ")
				g := newAppGate(t)
				to := filepath.Join(t.TempDir(), "download")
				k := launch(t, options{}, "curl", "-q", "-sS", tt.version, "-o", to, "-w", "%{http_code}\n", url+"/flow?gate="+g.id+tt.query)
				if !eventually(patience, func() bool { st, err := os.Stat(to); return err == nil && st.Size() > 0 }) {
					t.Fatal("nothing has arrived")
				}
				board.cut()
				if code := k.wait(); code != 18 && code != 56 {
					t.Errorf("curl: exit code %d, want 18 or 56; %s", code, k.stderr.String())
				}
				mustCurl(t, "-f", url+"/hello") // the next one works
				ends(t, p)
			})
		}
	}
}

// TestAppWriteOnce: a request that may change something is not made again by
// tshx, and one that only reads is, where the connection had ended.
func TestAppWriteOnce(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	board := newSwitchboard(t, appModern.get(t).direct)
	p := launch(t, appLogin(t, board.addr).options(), tshxPath, "proxy", "app", appWeb)
	url := "http://" + p.lineAfter("address: ")
	for range 10 {
		mustCurl(t, "-f", url+"/hello")
		board.cut() // what is kept is dead
		if out := mustCurl(t, "-w", "%{http_code}", url+"/hello"); out != "hello\n200" {
			t.Errorf("a read on a dead connection: %q", out)
		}
		board.cut()
		if out := mustCurl(t, "-o", "/dev/null", "-w", "%{http_code}", "-d", "x", url+"/seen"); out != "200" {
			t.Errorf("a write after the end of a kept connection: %s", out)
		}
	}
	g := newAppGate(t)
	k := launch(t, options{}, "curl", "-q", "-sSf", "-o", "/dev/null", "-d", "x", fmt.Sprintf("%s/flow?gate=%s", url, g.id))
	<-g.started
	board.cut()
	if code := k.wait(); code == 0 {
		t.Error("the answer is complete")
	}
	// And before there is any answer.
	hang := newAppGate(t)
	k = launch(t, options{}, "curl", "-q", "-sS", "-w", "%{http_code}", "-o", "/dev/null", "-X", "PUT", fmt.Sprintf("%s/hang?gate=%s", url, hang.id))
	<-hang.started
	board.cut()
	if code, out := k.wait(), k.stdout.String(); code != 0 || out != "502" {
		t.Errorf("exit code %d, %s", code, out)
	}
	if g.begun.Load() != 1 || hang.begun.Load() != 1 {
		t.Errorf("made %d and %d times", g.begun.Load(), hang.begun.Load())
	}
	ends(t, p)
}
