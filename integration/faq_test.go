//go:build linux

package integration

import (
	"context"
	"strings"
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// pinging are clusters that ping soon, of both kinds.
var pinging = map[string]*shared[*cluster]{
	"v14": share(func() (*cluster, error) { return startPinging("v14") }),
	"v17": share(func() (*cluster, error) { return startPinging("v17") }),
}

func startPinging(release string) (*cluster, error) {
	c := &cluster{config: lab.Config{Cluster: release + ".faq.tshx.test", Behave: release, PingInterval: 200 * time.Millisecond}}
	var err error
	if c.lab, err = lab.Start(context.Background(), c.config); err != nil {
		return nil, err
	}
	atExit(func() { c.lab.Close() })
	c.direct = loopback(c.lab.Addr)
	return c, c.writeCA()
}

// TestFAQ: what people type into a shell to see whether their balancer lets
// connection upgrades pass shows what it does at real proxies.
func TestFAQ(t *testing.T) {
	need(t, "curl")
	ws := []string{"Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	const ping, wsPing = "\x00\x00\x00\x00", "\x89\x08teleport"
	for _, tt := range []struct {
		name, release string
		headers       []string
		status        string
		answers       []string // in the header of the answer
		output        string   // that begins what follows, or is part of a refusal
	}{
		{"v14 alpn-ping", "v14", []string{"Upgrade: alpn-ping"}, "101 Switching Protocols", []string{"Upgrade: alpn-ping", "Connection: Upgrade"}, ping},
		{"v17 alpn-ping", "v17", []string{"Upgrade: alpn-ping"}, "101 Switching Protocols", []string{"Upgrade: alpn-ping", "Connection: Upgrade", "X-Teleport-Upgrade: alpn-ping"}, ping},
		{"v17 by the other header", "v17", []string{"Upgrade: alpn-ping", "X-Teleport-Upgrade: alpn-ping"}, "101 Switching Protocols", []string{"Upgrade: alpn-ping"}, ping},
		{"v14 websocket", "v14", ws, "404 Not Found", nil, "unsupported upgrade types: [websocket]"},
		{"v14 websocket and alpn-ping", "v14", append([]string{"Upgrade: alpn-ping"}, ws...), "101 Switching Protocols", []string{"Upgrade: alpn-ping"}, ping},
		{"v17 websocket", "v17", append([]string{"Sec-WebSocket-Protocol: alpn-ping"}, ws...), "101 Switching Protocols",
			[]string{"Upgrade: websocket", "Sec-WebSocket-Protocol: alpn-ping", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, wsPing},
		{"v14 unknown", "v14", []string{"Upgrade: nope"}, "404 Not Found", nil, "unsupported upgrade types: [nope]"},
		{"v17 unknown", "v17", []string{"Upgrade: nope"}, "404 Not Found", nil, "unsupported upgrade types: [nope]"},
	} {
		for name, front := range map[string]func(peer.Balancer) (*peer.Server, error){"direct": nil, "nginx": peer.Balancer.Nginx} {
			if front != nil && strings.Contains(tt.name, "websocket and") {
				continue // nginx joins headers of one name
			}
			t.Run(tt.name+" "+name, func(t *testing.T) {
				t.Parallel()
				nothingLeft(t)
				c := pinging[tt.release].get(t)
				addr := c.direct
				if front != nil {
					need(t, "nginx")
					b, err := c.balancer(c.direct)
					check(t, err)
					s, err := front(b)
					check(t, err)
					t.Cleanup(s.Close)
					addr = s.Addr
				}
				argv := []string{"curl", "-sv", "--no-buffer", "--no-alpn", "--cacert", c.caFile, "-H", "Connection: Upgrade"}
				for _, h := range tt.headers {
					argv = append(argv, "-H", h)
				}
				p := launch(t, options{}, append(argv, "https://"+at("localhost", addr)+"/webapi/connectionupgrade")...)
				// It goes on for as long as the stream does.
				if !eventually(patience, func() bool { return strings.Contains(p.stdout.String(), tt.output) || p.ended() }) || !strings.Contains(p.stdout.String(), tt.output) {
					t.Fatalf("output %q, want %q", p.stdout.String(), tt.output)
				}
				if strings.HasPrefix(tt.status, "101") && !strings.HasPrefix(p.stdout.String(), tt.output) {
					t.Errorf("output %q, want %q first", p.stdout.String(), tt.output)
				}
				// The header is said before, on another pipe.
				talk := func() string { return strings.ReplaceAll(p.stderr.String(), "\r", "") }
				eventually(patience, func() bool { return strings.Contains(talk(), "\n< \n") || p.ended() })
				said := talk()
				if !strings.Contains(said, "\n< HTTP/1.1 "+tt.status+"\n") {
					t.Errorf("no %s", tt.status)
				}
				for _, h := range tt.answers {
					if !strings.Contains(strings.ToLower(said), "\n< "+strings.ToLower(h)+"\n") {
						t.Errorf("no %s", h)
					}
				}
			})
		}
	}
}
