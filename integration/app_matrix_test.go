//go:build linux

package integration

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAppMatrix: what HTTP can do gets through to the application and back as it
// is, on all ways.
func TestAppMatrix(t *testing.T) {
	for _, way := range appTransports {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				name string
				run  func(*testing.T, *transport)
			}{
				{"kept connections", appKeepAlive},
				{"heads and codes", appCodes},
				{"request as it is", appRequest},
				{"answer as it is", appAnswer},
				{"trailers", appTrailers},
				{"events", appEvents},
				{"websocket", appWebSocket},
				{"half-close of an upgrade", appHalfClose},
				{"many at once", appParallel},
				{"pipelined", appPipelined},
				{"tcp", appTCP},
			} {
				t.Run(c.name, func(t *testing.T) {
					nothingLeft(t)
					c.run(t, way.get(t))
				})
			}
		})
	}
}

// curl runs it to its end. Its exit code is of interest, and what it prints.
func curl(t testing.TB, args ...string) (code int, out, talk string) {
	t.Helper()
	need(t, "curl")
	p := launch(t, options{}, append([]string{"curl", "-q", "-sS", "--noproxy", "*"}, args...)...)
	code = p.wait()
	return code, p.stdout.String(), p.stderr.String()
}

// mustCurl is curl that must succeed.
func mustCurl(t testing.TB, args ...string) string {
	t.Helper()
	code, out, talk := curl(t, args...)
	if code != 0 {
		t.Fatalf("curl %q: exit code %d: %s", args, code, talk)
	}
	return out
}

// appClient keeps connections as browsers do, and takes answers as they are.
func appClient(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// appKeepAlive: requests of one client share its connection, and those of all
// clients, one after the other, one to the proxy.
func appKeepAlive(t *testing.T, tr *transport) {
	tr, made := tr.counted(t)
	url := tr.appURL(t, appWeb, "--warm", "0") + "/hello"
	mustCurl(t, url)
	before := made.Load()
	for range 5 {
		out := mustCurl(t, "-w", "%{num_connects} ", url, "-w", "%{num_connects} ", url, url)
		if got := strings.Fields(out); !slices.Equal(got, []string{"hello", "1", "hello", "0", "hello", "0"}) {
			t.Errorf("%q", got)
		}
	}
	if n := made.Load() - before; n != 0 {
		t.Errorf("%d more connections to the proxy for requests one after the other", n)
	}
}

// appCodes: answers without a body end where they end.
func appCodes(t *testing.T, tr *transport) {
	url := tr.appURL(t, appWeb)
	for _, code := range []int{204, 304, 404, 418, 500, 599} {
		// The second request shows that the connection is still in step.
		out := mustCurl(t, "-w", "%{http_code} %{size_download} %header{etag} %{num_connects}\n", fmt.Sprintf("%s/status?code=%d", url, code), url+"/hello")
		if want := fmt.Sprintf("%d 0 \"tag\" 1\nhello\n200 6  0\n", code); out != want {
			t.Errorf("got %q, want %q", out, want)
		}
	}
	out := mustCurl(t, "-I", url+"/hello")
	if !strings.Contains(out, "200 OK") || !strings.Contains(strings.ToLower(out), "content-length: 6\r\n") {
		t.Errorf("HEAD: %s", out)
	}
	if out := mustCurl(t, "-X", "DELETE", url+"/seen"); !strings.Contains(out, `"Method":"DELETE"`) {
		t.Errorf("%s", out)
	}
	if out := mustCurl(t, "--http1.0", "-w", "%{http_code}", url+"/hello"); out != "hello\n200" {
		t.Errorf("HTTP/1.0: %q", out)
	}
}

// appRequest: the application sees what the client sent.
func appRequest(t *testing.T, tr *transport) {
	url := tr.appURL(t, appWeb)
	ask := func(args ...string) (s seen) {
		t.Helper()
		if err := json.Unmarshal([]byte(mustCurl(t, args...)), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := ask("--path-as-is", url+"//as/../it/is?a=b%20c&&d", "-H", "User-Agent:", "-H", "X-Two: 1", "-H", "X-Two: 2", "-H", "Authorization: Basic YTpi",
		"-H", "Cookie: a=1; b=2", "-H", "Accept-Encoding: br;q=0.1", "-H", "TE: trailers", "-H", "X-Hop: mine", "-H", "Connection: x-hop", "-H", "Origin: "+url)
	if s.URI != "//as/../it/is?a=b%20c&&d" || s.Method != "GET" || s.Host != strings.TrimPrefix(url, "http://") {
		t.Errorf("%s %s of %s", s.Method, s.URI, s.Host)
	}
	for name, want := range map[string][]string{
		"X-Two": {"1", "2"}, "Authorization": {"Basic YTpi"}, "Cookie": {"a=1; b=2"}, "Accept-Encoding": {"br;q=0.1"},
		"User-Agent": nil, "X-Hop": nil, "Origin": {url},
	} {
		if d := cmp.Diff(want, s.Header[name]); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
	if s := ask(url + "/a%2Fb%3Fc"); s.URI != "/a%2Fb%3Fc" {
		t.Errorf("the path is %s", s.URI)
	}
	if s := ask("-X", "GET", "-d", "a body", url+"/seen"); s.Method != "GET" || s.Size != 6 || s.Length != 6 {
		t.Errorf("a GET with a body: %+v", s)
	}
	s = ask("-X", "PATCH", "-d", "", url+"/seen")
	if s.Method != "PATCH" || s.Length != 0 || s.Err != "" || s.Encoding != nil {
		t.Errorf("no body: %+v", s)
	}
}

// appAnswer: the client sees what the application sent.
func appAnswer(t *testing.T, tr *transport) {
	url := tr.appURL(t, appWeb)
	code, out, talk := curl(t, "-v", url+"/hints")
	if code != 0 || out != "hinted\n" || !strings.Contains(talk, "< HTTP/1.1 103 ") || strings.Count(talk, "style.css") != 1 {
		t.Errorf("early hints: exit code %d, %q, %s", code, out, talk)
	}
	// An upgrade that the application does not want is a request like any other.
	out = mustCurl(t, "-H", "Connection: Upgrade", "-H", "Upgrade: other", "-w", "%{http_code}|", url+"/upgrade", url+"/hello")
	if want := "upgrade to sum\n426|hello\n200|"; out != want {
		t.Errorf("refused upgrade: %q", out)
	}
	resp, err := appClient(t).Get(url + "/headers")
	check(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 418 || string(body) != "short and stout" || resp.ContentLength != 15 {
		t.Errorf("%s, length %d, %q, %v", resp.Status, resp.ContentLength, body, err)
	}
	for name, want := range map[string][]string{
		"Set-Cookie": {"a=1; Path=/", "b=2; Secure; HttpOnly"}, "Server": {"an app of its own"}, "Content-Encoding": {"gzip"},
		"Location": {"http://127.0.0.1:1/elsewhere"}, "Strict-Transport-Security": {"max-age=1"}, "X-Empty": {""}, "Via": {"1.1 nobody"},
	} {
		if d := cmp.Diff(want, resp.Header[name]); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

// appTrailers: both sides may have more to say behind a body.
func appTrailers(t *testing.T, tr *transport) {
	const text = "what comes before the trailers"
	req, err := http.NewRequestWithContext(t.Context(), "POST", tr.appURL(t, appWeb)+"/seen", io.NopCloser(strings.NewReader(text)))
	check(t, err)
	req.Trailer = http.Header{"Checksum": {"42"}, "Signature": {"by me"}}
	resp, err := appClient(t).Do(req)
	check(t, err)
	defer resp.Body.Close()
	var s seen
	check(t, json.NewDecoder(resp.Body).Decode(&s))
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(req.Trailer, s.Trailer); d != "" || s.Size != int64(len(text)) {
		t.Errorf("%d bytes, trailers of the request:\n%s", s.Size, d)
	}
	if d := cmp.Diff(http.Header{"X-Back-Checksum": {"42"}, "X-Back-Signature": {"by me"}}, resp.Trailer); d != "" {
		t.Errorf("trailers of the answer:\n%s", d)
	}
}

// appEvents: each event arrives while the application still waits to send the
// next one.
func appEvents(t *testing.T, tr *transport) {
	g := newAppGate(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", tr.appURL(t, appWeb)+"/events?gate="+g.id, nil)
	check(t, err)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := appClient(t).Do(req)
	check(t, err)
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("type %q", kind)
	}
	for i := range 4 {
		if i > 0 {
			g.open <- struct{}{}
		}
		want := fmt.Sprintf("id: %d\ndata: event %d\n\n", i, i)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("event %d: %q, %v", i, got, err)
		}
	}
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("behind the last one: %q, %v", rest, err)
	}
}

// appPipelined: requests that do not wait for answers get them in their order.
func appPipelined(t *testing.T, tr *transport) {
	addr := strings.TrimPrefix(tr.appURL(t, appWeb), "http://")
	c := dial(t, addr)
	var all strings.Builder
	for n := range 20 {
		fmt.Fprintf(&all, "POST /seen?%d HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", n)
	}
	_, err := io.WriteString(c, all.String())
	check(t, err)
	r := bufio.NewReader(c)
	for n := range 20 {
		resp, err := http.ReadResponse(r, nil)
		check(t, err)
		var s seen
		check(t, json.NewDecoder(resp.Body).Decode(&s))
		io.Copy(io.Discard, resp.Body)
		if want := fmt.Sprintf("/seen?%d", n); s.URI != want || s.Size != 3 {
			t.Errorf("%s: %+v", want, s)
		}
	}
}

// appParallel: each of many requests at a time gets its own answer.
func appParallel(t *testing.T, tr *transport) {
	const clients, requests = 40, 8
	client, url := appClient(t), tr.appURL(t, appWeb)+"/seen"
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for n := range requests {
				text := strings.Repeat(fmt.Sprintf("request %d of client %d\n", n, c), 1+c*n*10)
				resp, err := client.Post(url, "text/plain", strings.NewReader(text))
				if err != nil {
					t.Error(err)
					return
				}
				var s seen
				err = json.NewDecoder(resp.Body).Decode(&s)
				resp.Body.Close()
				if want := fmt.Sprintf("%x", sha256.Sum256([]byte(text))); err != nil || s.Sum != want {
					t.Errorf("client %d, request %d: %s, %v", c, n, resp.Status, err)
				}
			}
		})
	}
	all.Wait()
}

// appTCP: what is no HTTP is carried as it is, whoever speaks first.
func appTCP(t *testing.T, tr *transport) {
	if out := mustCurl(t, tr.appURL(t, appTCPWeb)+"/hello"); out != "hello\n" {
		t.Errorf("HTTP to a TCP application: %q", out)
	}
	if out := mustCurl(t, tr.appURL(t, appTCPWeb, "--protocol", "tcp")+"/hello"); out != "hello\n" {
		t.Errorf("HTTP that is not looked at: %q", out)
	}
	first := dial(t, strings.TrimPrefix(tr.appURL(t, appEcho), "http://"))
	answers(t, first)
	first.Close()
	addr := strings.TrimPrefix(tr.appURL(t, appGreets), "http://")
	for range 3 {
		c := dial(t, addr)
		got := make([]byte, len(greeting))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != greeting {
			t.Fatalf("%q, %v", got, err)
		}
		answers(t, c)
		c.CloseWrite()
		if n, err := io.Copy(io.Discard, c); n != 0 || err != nil {
			t.Errorf("behind the end: %d bytes, %v", n, err)
		}
		c.Close()
	}
}
