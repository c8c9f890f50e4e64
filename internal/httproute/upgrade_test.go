package httproute_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"tshx/internal/httproute"
)

const switches = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"

var wantsChat = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"chat"}}

// Who asks for another protocol and does not get it has no more use for the
// connection: it is closed behind the answer, or at once where that is none.
func TestUpgradeRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		answer string
		code   int // 0 is an error
	}{
		"refused":              {"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403},
		"after a hint":         {"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403},
		"another protocol":     {"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n", 0},
		"what is not HTTP":     {"220 hello\r\n\r\n", 0},
		"no protocol was said": {"HTTP/1.1 101 Switching Protocols\r\n\r\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{serve: answer(tt.answer)}
				up := httproute.New(httproute.Options{Dialer: p})
				res, err := by(t, up, "GET", wantsChat)
				switch {
				case tt.code == 0 && err == nil:
					t.Errorf("answered %s", res.Status)
				case tt.code != 0 && (err != nil || res.StatusCode != tt.code):
					t.Errorf("%v, %v", res, err)
				}
				synctest.Wait()
				if p.ended.Load() != 1 {
					t.Error("the connection was left open")
				}
				up.Close()
			})
		})
	}
}

// A client that goes while the other side thinks about another protocol takes the
// request with it.
func TestUpgradeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: func(_ net.Conn, br *bufio.Reader) { http.ReadRequest(br) }}
		up := httproute.New(httproute.Options{Dialer: p})
		defer up.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(time.Second, cancel)
		time.AfterFunc(time.Minute, func() { t.Error("it waits"); up.Close(); p.wg.Wait() })
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://x/", nil)
		r.Header = wantsChat
		begin := time.Now()
		if res, err := up.RoundTrip(r); err == nil {
			t.Errorf("answered %s", res.Status)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("it ended after %v", took)
		}
		p.wg.Wait()
	})
}

// lost is the ResponseWriter of a client that is gone by the time that its
// connection is taken over.
type lost struct {
	http.ResponseWriter
	client net.Conn
}

func (l lost) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	l.client.Close()
	return l.client, bufio.NewReadWriter(bufio.NewReader(l.client), bufio.NewWriter(l.client)), nil
}

// One that goes when the protocol has just changed leaves nothing behind.
func TestUpgradeLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: answer(switches)}
		up := httproute.New(httproute.Options{Dialer: p})
		defer up.Close()
		client, c := net.Pipe()
		defer client.Close()
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://x/", nil)
		r.Header = wantsChat
		up.Reverse(httproute.ReverseOptions{Failed: func(_ http.ResponseWriter, _ *http.Request, err error) { t.Errorf("failed: %v", err) }}).
			ServeHTTP(lost{nil, c}, r)
		synctest.Wait()
		if p.ended.Load() != 1 {
			t.Error("the connection to the proxy was left open")
		}
	})
}

// taken is the ResponseWriter of a client whose connection is taken over.
type taken struct {
	http.ResponseWriter
	client net.Conn
}

func (w taken) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.client, bufio.NewReadWriter(bufio.NewReader(w.client), bufio.NewWriter(w.client)), nil
}

// The end of an Upstream cuts what goes on behind a change of protocol.
func TestUpgradeCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: answer(switches)}
		up := httproute.New(httproute.Options{Dialer: p})
		client, c := net.Pipe()
		defer client.Close()
		served := make(chan bool)
		go func() {
			defer close(served)
			defer func() {
				if err := recover(); err != nil && err != http.ErrAbortHandler {
					panic(err)
				}
			}()
			r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://x/", nil)
			r.Header = wantsChat
			up.Reverse(httproute.ReverseOptions{}).ServeHTTP(taken{nil, c}, r)
		}()
		if res, err := http.ReadResponse(bufio.NewReader(client), nil); err != nil || res.StatusCode != 101 {
			t.Fatalf("%v, %v", res, err)
		}
		begin := time.Now()
		time.AfterFunc(time.Hour, func() { client.Close() })
		up.Close()
		<-served
		if took := time.Since(begin); took > 0 {
			t.Errorf("it ended after %v", took)
		}
	})
}
