package appproxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"tshx/internal/appproxy"
)

// advise is what a command says to an error.
func advise(err error) appproxy.Advice {
	return appproxy.Advice{Message: err.Error(), Hint: "see <there>", Command: "tsh apps login 'a&b'"}
}

func TestAnswers(t *testing.T) {
	w := newWorld(t, unused, func(w *world) { w.options.Explain = advise })
	for _, tt := range []struct {
		name      string
		cert, err error
		code      int
	}{
		{"no certificate", errors.New(`app "web" certificate <expired>`), nil, 401},
		{"refused", nil, &net.OpError{Op: "dial", Err: errors.New("<refused>")}, 502},
		{"no answer", nil, fmt.Errorf("<no answer>: %w", context.DeadlineExceeded), 504},
	} {
		for _, header := range []http.Header{{}, {"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}} {
			w.fail(tt.cert)
			w.failDial(tt.err)
			failure := errors.Join(tt.cert, tt.err).Error()
			message := failure
			if tt.cert == nil {
				message = `application "web": ` + failure
			}
			for accept, want := range map[string]string{
				"": "text/plain", "*/*": "text/plain", "text/*, image/png": "text/plain", "text/html;q=0.5, text/plain": "text/plain",
				"application/json": "application/json", "application/json, text/plain, */*": "application/json", "application/vnd.api+json": "application/json",
				"text/html;q=0.8, application/json;q=0.9": "application/json", "application/json;q=0, */*": "text/plain",
				"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "text/html",
			} {
				r, _ := http.NewRequest("GET", w.url("/"), nil)
				r.Header = header.Clone()
				r.Header.Set("Accept", accept)
				res, err := w.client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body := readAll(t, res.Body)
				if res.StatusCode != tt.code || res.Header.Get("Content-Type") != want+"; charset=utf-8" || res.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s, %s: %s %v", tt.name, accept, res.Status, res.Header)
				}
				check(t, want, body, message, tt.code)
				if err := <-w.reports; err.Error() != failure {
					t.Errorf("reported %v", err)
				}
			}
		}
	}
}

// check holds a body in one of the forms against what it has to say.
func check(t *testing.T, form, body, message string, code int) {
	t.Helper()
	switch form {
	case "text/plain":
		if body != message+"; see <there>; run: tsh apps login 'a&b'\n" {
			t.Errorf("text %q", body)
		}
	case "application/json":
		var got struct {
			Error struct{ Message, Hint string }
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || got.Error.Message != message || got.Error.Hint != "see <there>; run: tsh apps login 'a&b'" {
			t.Errorf("%v in %s", err, body)
		}
	case "text/html":
		for _, want := range []string{
			fmt.Sprintf("<title>%d %s: application &#34;web&#34;</title>", code, http.StatusText(code)),
			"<p>see &lt;there&gt;</p>", "<pre>tsh apps login &#39;a&amp;b&#39;</pre>", "color-scheme: light dark",
		} {
			if !strings.Contains(body, want) {
				t.Errorf("page lacks %s: %s", want, body)
			}
		}
		if strings.Contains(body, "<expired>") || strings.Contains(body, "<refused>") || strings.Contains(body, "{") && strings.Contains(body, "{hint}") {
			t.Errorf("page %s", body)
		}
	}
}

// A new login heals without a restart, and brings new connections.
func TestHeals(t *testing.T) {
	w := newWorld(t, hello, nil)
	client := w.client()
	status := func() int {
		res, err := client.Get(w.url("/"))
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, res.Body)
		return res.StatusCode
	}
	for _, err := range []error{nil, errors.New("expired"), nil} {
		w.fail(err)
		if code := status(); (code == 200) != (err == nil) {
			t.Errorf("%v: %d", err, code)
		}
	}
	w.cert.Store(userCert(t))
	status()
	if n := w.web.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

// The proxy's own answers pass, and are explained.
func TestSession(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/error":
			rw.Header().Set("X-Teleport-Api-Error", "session not found")
			rw.WriteHeader(403)
		case "/proxy":
			http.Redirect(rw, r, "https://proxy.example.com/web/launch/web.proxy.example.com?path=x", http.StatusFound)
		case "/own":
			http.Redirect(rw, r, "/web/login", http.StatusFound)
		case "/other":
			http.Redirect(rw, r, "https://login.example.com/web/login", http.StatusFound)
		}
	}, nil)
	for path, want := range map[string]string{
		"/error": "session not found", "/proxy": "it sends the client to https://proxy.example.com/web/launch/web.proxy.example.com", "/own": "", "/other": "",
	} {
		res, err := w.client().Get(w.url(path))
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, res.Body)
		if code := map[string]int{"/error": 403}[path]; code == 0 && res.StatusCode != 302 || code != 0 && res.StatusCode != code {
			t.Errorf("%s: %s", path, res.Status)
		}
		if want == "" {
			if len(w.reports) > 0 {
				t.Errorf("%s: reported %v", path, <-w.reports)
			}
			continue
		}
		var session *appproxy.SessionError
		if err := <-w.reports; !errors.As(err, &session) || session.Text != want {
			t.Errorf("%s: reported %v", path, err)
		}
	}
}
