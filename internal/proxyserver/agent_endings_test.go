package proxyserver

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"tshx/internal/conn"
	"tshx/internal/reversetunnel"
	"tshx/internal/upgrade"
)

// bulk is more than the windows of a channel and the buffers of sockets hold at
// once.
var bulk = strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB

// ways are those of a client to the proxy.
var ways = []string{"direct", string(upgrade.Legacy), string(upgrade.WebSocket)}

// lastWords are what one side has read to the end.
type lastWords struct {
	text string
	err  error
}

func hear(c net.Conn) lastWords {
	b, err := io.ReadAll(c)
	return lastWords{string(b), err}
}

// Each end of a stream through an agent gets to the other side as what it is, with
// all that was said before, on each way to the proxy.
func TestAgentStreamEnds(t *testing.T) {
	app := reversetunnel.Resource{Kind: kindApp, Name: "app"}
	for _, tt := range []struct {
		name   string
		app    func(net.Conn) lastWords // what it has heard; it is closed afterwards
		client func(*testing.T, *tls.Conn) lastWords
		// What the app and the client have heard at the end; nothing: not asked.
		// An exclamation mark stands for a break.
		atApp, atClient string
	}{
		{"the client ends first, the app goes on", func(c net.Conn) lastWords {
			h := hear(c)
			io.WriteString(c, bulk)
			return h
		}, func(t *testing.T, c *tls.Conn) lastWords {
			io.WriteString(c, bulk)
			conn.CloseWrite(c)
			return hear(c)
		}, bulk, bulk},
		{"the app ends first, the client goes on", func(c net.Conn) lastWords {
			io.WriteString(c, bulk)
			conn.CloseWrite(c)
			return hear(c)
		}, func(t *testing.T, c *tls.Conn) lastWords {
			h := hear(c)
			io.WriteString(c, bulk)
			conn.CloseWrite(c)
			return h
		}, bulk, bulk},
		{"the app resets", func(c net.Conn) lastWords {
			io.WriteString(c, "half")
			io.ReadFull(c, make([]byte, 4))
			conn.Abort(c)
			return lastWords{}
		}, func(t *testing.T, c *tls.Conn) lastWords {
			b := make([]byte, 4)
			io.ReadFull(c, b)
			io.WriteString(c, "seen")
			h := hear(c)
			h.text = string(b) + h.text
			return h
		}, "", "half!"},
		{"the client resets", func(c net.Conn) lastWords {
			io.WriteString(c, "half")
			return hear(c)
		}, func(t *testing.T, c *tls.Conn) lastWords {
			io.WriteString(c, "seen")
			io.ReadFull(c, make([]byte, 4))
			conn.Abort(c)
			return lastWords{}
		}, "!", ""},
		{"the client is cut off", func(c net.Conn) lastWords {
			return hear(c)
		}, func(t *testing.T, c *tls.Conn) lastWords {
			io.WriteString(c, "seen")
			bottom(c).(*net.TCPConn).CloseWrite()
			return lastWords{}
		}, "!", ""},
		{"the client resets what it had ended", func(c net.Conn) lastWords {
			h := hear(c)
			for {
				if _, err := io.WriteString(c, bulk); err != nil {
					return lastWords{h.text, err}
				}
			}
		}, func(t *testing.T, c *tls.Conn) lastWords {
			io.WriteString(c, "seen")
			conn.CloseWrite(c)
			io.ReadFull(c, make([]byte, 4))
			conn.Abort(c)
			return lastWords{}
		}, "seen!", ""},
	} {
		for _, way := range ways {
			t.Run(tt.name+"/"+way, func(t *testing.T) {
				f := start(t, Options{Apps: []App{{Name: "app", URI: "tcp://"}}})
				atApp := make(chan lastWords, 1)
				agentOf(t, f, "host1", func(c net.Conn) {
					atApp <- tt.app(c)
				}, app)
				atClient := make(chan lastWords, 1)
				c := f.dialAs(t, way, newUser(t).tls(appRoute("app")), "teleport-tcp")
				go func() { atClient <- tt.client(t, c) }()
				check(t, "client", waitFor(t, "the client's end", atClient), tt.atClient)
				check(t, "app", waitFor(t, "the app's end", atApp), tt.atApp)
			})
		}
	}
}

func check(t *testing.T, who string, got lastWords, want string) {
	t.Helper()
	switch text, broken := strings.CutSuffix(want, "!"); {
	case want == "":
	case broken && got.err == nil:
		t.Errorf("%s: %d bytes and an orderly end", who, len(got.text))
	case !broken && got.err != nil:
		t.Errorf("%s: %d bytes and %v", who, len(got.text), got.err)
	case text != "" && got.text != text:
		t.Errorf("%s: %d bytes, not those that were sent", who, len(got.text))
	}
}

// bottom is the socket beneath.
func bottom(c net.Conn) net.Conn {
	for {
		above, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = above.NetConn()
	}
}
