//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// dialWebSocket connects to the application's echo.
func dialWebSocket(t testing.TB, url string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{HandshakeTimeout: patience, Subprotocols: []string{"echo"}}
	c, resp, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(url, "http")+"/ws", http.Header{"Origin": {url}})
	if err != nil {
		t.Fatalf("%v: %v", err, resp)
	}
	t.Cleanup(func() { c.Close() })
	check(t, c.SetReadDeadline(time.Now().Add(patience)))
	if c.Subprotocol() != "echo" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	return c
}

// appWebSocket: messages of any size come back, and either side may end it, with
// a reason that arrives.
func appWebSocket(t *testing.T, tr *transport) {
	url := tr.appURL(t, appWeb)
	c := dialWebSocket(t, url)
	noise := rand.NewChaCha8([32]byte{2})
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20, 16 << 20} {
		text := make([]byte, size)
		noise.Read(text)
		check(t, c.WriteMessage(websocket.BinaryMessage, text))
		kind, got, err := c.ReadMessage()
		if err != nil || kind != websocket.BinaryMessage || !bytes.Equal(got, text) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
	ponged := false
	c.SetPongHandler(func(text string) error { ponged = text == "are you there?"; return nil })
	check(t, c.WriteControl(websocket.PingMessage, []byte("are you there?"), time.Now().Add(patience)))
	check(t, c.WriteMessage(websocket.TextMessage, []byte("close 4321")))
	var end *websocket.CloseError
	if _, _, err := c.ReadMessage(); !errors.As(err, &end) || end.Code != 4321 || end.Text != "as asked for" {
		t.Errorf("the application's end is %v", err)
	}
	if !ponged {
		t.Error("no answer to a ping")
	}

	c = dialWebSocket(t, url)
	check(t, c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4001, "enough")))
	if _, _, err := c.ReadMessage(); !errors.As(err, &end) || end.Code != 4001 {
		t.Errorf("the application answers our end by %v", err)
	}
	if n, err := c.NetConn().Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("behind the end: %d bytes, %v", n, err)
	}
}

// appHalfClose: an upgrade is a stream in both directions, each with an end of
// its own.
func appHalfClose(t *testing.T, tr *transport) {
	url := tr.appURL(t, appWeb)
	addr := strings.TrimPrefix(url, "http://")
	c := dial(t, addr)
	check(t, c.SetDeadline(time.Now().Add(patience)))
	// What comes right behind the request belongs to the stream.
	const early = "not waiting for the answer\n"
	fmt.Fprintf(c, "GET /upgrade HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: sum\r\n\r\n%s", addr, early)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	check(t, err)
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "sum" {
		t.Fatalf("%s %v", resp.Status, resp.Header)
	}
	if line, err := r.ReadString('\n'); line != "ready\n" || err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	sum := sha256.New()
	io.WriteString(sum, early)
	check(t, sendBoth(c, sum, 3<<20))
	check(t, c.CloseWrite())
	got, err := io.ReadAll(r)
	if want := fmt.Sprintf("%x\n", sum.Sum(nil)); err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

// sendBoth writes n bytes of noise to both.
func sendBoth(a, b io.Writer, n int64) error {
	_, err := sendNoise(io.MultiWriter(a, b), n)
	return err
}
