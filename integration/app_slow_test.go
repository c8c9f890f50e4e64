//go:build linux

package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestAppSlowUpload: the application is asked once a request has begun, however
// slowly its body comes.
func TestAppSlowUpload(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	for _, name := range []string{"raw", "websocket haproxy"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newAppGate(t)
			c := dial(t, strings.TrimPrefix(pick(t, appTransports, name).appURL(t, appWeb), "http://"))
			_, err := fmt.Fprintf(c, "POST /hang?gate=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf", g.id)
			check(t, err)
			select {
			case <-g.started:
			case <-time.After(patience):
				t.Error("the application was not asked")
			}
		})
	}
}

// TestAppLineInPieces: a request line may come in pieces, as from who types it.
func TestAppLineInPieces(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	tr := pick(t, appTransports, "raw")
	for _, app := range []string{appWeb, appTCPWeb} {
		addr := strings.TrimPrefix(tr.appURL(t, app), "http://")
		for range 2 {
			c := dial(t, addr)
			const half = 600 * time.Millisecond // longer than a client may be silent that says nothing at all
			for _, part := range []string{"GET /he", "llo HTTP/1.1\r\nHo", "st: x\r\nConnection: close\r\n\r\n"} {
				_, err := io.WriteString(c, part)
				check(t, err)
				time.Sleep(half)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Error(err)
				continue
			}
			if body, err := io.ReadAll(resp.Body); string(body) != "hello\n" {
				t.Errorf("%s, %q, %v", resp.Status, body, err)
			}
		}
	}
}

// TestAppLateRequest: a browser connects ahead of its requests, also before
// anything is known of the application, and what it then asks is looked at.
func TestAppLateRequest(t *testing.T) {
	t.Parallel()
	nothingLeft(t)
	addr := strings.TrimPrefix(pick(t, appTransports, "legacy nginx").appURL(t, appTCPWeb), "http://")
	for host, want := range map[string]int{"rebound.example.com": 421, "localhost": 200} {
		c := dial(t, addr)
		time.Sleep(time.Second) // by then it has a tunnel
		_, err := fmt.Fprintf(c, "GET /hello HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
		check(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Error(err)
			continue
		}
		if resp.StatusCode != want {
			t.Errorf("%s: %s", host, resp.Status)
		}
	}
}
