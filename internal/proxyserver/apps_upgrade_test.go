package proxyserver

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tshx/internal/conn"
)

// askUpgrade sends a request for the protocol chat, with these lines in its head.
func (f *fixture) askUpgrade(lines string) (net.Conn, *bufio.Reader) {
	f.t.Helper()
	c := f.dial(newUser(f.t).tls(appRoute("app")), "http/1.1")
	if _, err := io.WriteString(c, "GET /chat HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade, X-Hop\r\nUpgrade: chat\r\n"+lines+"\r\n"); err != nil {
		f.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// rawApp is an app that reads a request, says something, and tells of the end of its
// connection.
func rawApp(t testing.TB, say func(c net.Conn, head string)) (App, <-chan error) {
	ended := make(chan error, 10)
	return App{Name: "app", URI: "http://" + backend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		var head strings.Builder
		for line := ""; line != "\r\n"; head.WriteString(line) {
			var err error
			if line, err = br.ReadString('\n'); err != nil {
				return
			}
		}
		say(c, head.String())
		_, err := io.Copy(io.Discard, br)
		ended <- err
	})}, ended
}

// What is between neighbours stays there, where another protocol is asked for and
// where that is refused, and a refusal leaves nothing open.
func TestUpgradeHops(t *testing.T) {
	heads := make(chan string, 1)
	app, ended := rawApp(t, func(c net.Conn, head string) {
		heads <- head
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+
			"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: X-Mine\r\nX-Mine: no\r\nKeep-Alive: timeout=5\r\nX-Own: yes\r\n\r\nno")
	})
	f := start(t, Options{Apps: []App{app}})
	_, br := f.askUpgrade("X-Hop: no\r\nProxy-Authorization: Basic c2VjcmV0\r\nKeep-Alive: 5\r\nX-Own: yes\r\n")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); resp.StatusCode != 403 || string(b) != "no" || err != nil {
		t.Errorf("%s %q, %v", resp.Status, b, err)
	}
	if h := resp.Header; h.Get("X-Mine") != "" || h.Get("Keep-Alive") != "" || h.Get("Connection") != "" || h.Get("X-Own") != "yes" {
		t.Errorf("the client got %v", h)
	}
	head := <-heads
	for _, no := range []string{"X-Hop", "Proxy-Authorization", "Keep-Alive"} {
		if strings.Contains(head, no) {
			t.Errorf("%s got through: %q", no, head)
		}
	}
	for _, yes := range []string{"GET /chat HTTP/1.1\r\n", "\r\nConnection: Upgrade\r\n", "\r\nUpgrade: chat\r\n", "\r\nX-Own: yes\r\n"} {
		if !strings.Contains(head, yes) {
			t.Errorf("no %q in %q", yes, head)
		}
	}
	waitFor(t, "the end of the connection to the app", ended)
}

// A refusal may be a stream: its parts arrive when they are sent, and trailers end it.
// Nothing is added to the request.
func TestUpgradeStreamedRefusal(t *testing.T) {
	more, heads := make(chan bool), make(chan string, 1)
	app, _ := rawApp(t, func(c net.Conn, head string) {
		heads <- head
		io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n1\r\na\r\n")
		<-more
		io.WriteString(c, "1\r\nb\r\n0\r\nX-End: yes\r\n\r\n")
	})
	f := start(t, Options{Apps: []App{app}})
	c, br := f.askUpgrade("")
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		close(more)
		t.Fatal(err)
	}
	first := make([]byte, 1)
	_, err = io.ReadFull(resp.Body, first)
	close(more)
	rest, err2 := io.ReadAll(resp.Body)
	if string(first)+string(rest) != "ab" || err != nil || err2 != nil || resp.Trailer.Get("X-End") != "yes" {
		t.Errorf("%q and %q, %v, %v, trailer %v", first, rest, err, err2, resp.Trailer)
	}
	if head := <-heads; strings.Contains(head, "User-Agent") {
		t.Errorf("added to %q", head)
	}
}

// A refusal that breaks off does not look complete.
func TestUpgradeBrokenRefusal(t *testing.T) {
	for _, framing := range []string{"Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"} {
		app, _ := rawApp(t, func(c net.Conn, _ string) {
			io.WriteString(c, "HTTP/1.1 403 Forbidden\r\n"+framing)
			conn.CloseWrite(c)
		})
		f := start(t, Options{Apps: []App{app}})
		_, br := f.askUpgrade("")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			continue // it did not get as far
		}
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%q: %q looks complete", framing, b)
		}
	}
}

// A client that goes while the app thinks about another protocol takes its request
// with it.
func TestUpgradeGivenUp(t *testing.T) {
	var client net.Conn
	asked := make(chan bool, 1)
	app, ended := rawApp(t, func(net.Conn, string) { asked <- true })
	f := start(t, Options{Apps: []App{app}})
	client, _ = f.askUpgrade("")
	waitFor(t, "the request", asked)
	client.Close()
	waitFor(t, "the end of the connection to the app", ended)
}
