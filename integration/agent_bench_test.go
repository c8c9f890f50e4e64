//go:build linux

package integration

import (
	"io"
	"net"
	"testing"

	"tshx/integration/peer"
)

// agentBench are the same services: reached by the proxy itself, and through an
// agent on two ways.
var agentBench = []struct {
	name  string
	front func(peer.Balancer) (*peer.Server, error)
	agent bool
}{
	{"by the proxy", nil, false},
	{"by an agent", nil, true},
	{"by an agent behind nginx", peer.Balancer.Nginx, true},
}

func agentBenches(b *testing.B, run func(b *testing.B, tr *transport)) {
	for _, tt := range agentBench {
		b.Run(tt.name, func(b *testing.B) {
			if !tt.agent {
				run(b, transportNamed(b, "raw"))
				return
			}
			c := agentModern.get(b)
			addr := c.direct
			if tt.front != nil {
				addr = c.front(b, tt.front).Addr
			}
			a := c.agent(b, addr)
			run(b, c.loginTo(b, c.direct))
			a.drained()
		})
	}
}

// BenchmarkAgentThroughput measures one direction at a time.
func BenchmarkAgentThroughput(b *testing.B) {
	const size = 256 << 20
	agentBenches(b, func(b *testing.B, tr *transport) {
		for name, down := range map[string]int64{"up": 0, "down": size} {
			b.Run(name, func(b *testing.B) {
				addr := tr.app(b, "fast")
				b.SetBytes(size)
				b.ResetTimer()
				for b.Loop() {
					c := dial(b, addr)
					if err := fast(c, size-down, down); err != nil {
						b.Fatal(err)
					}
					c.Close()
				}
			})
		}
	})
}

// BenchmarkAgentConnection measures a new connection to its first answer.
func BenchmarkAgentConnection(b *testing.B) {
	agentBenches(b, func(b *testing.B, tr *transport) {
		addr := tr.app(b, "echo")
		answer := make([]byte, 1)
		b.ResetTimer()
		for b.Loop() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			c.Write(answer)
			if _, err := io.ReadFull(c, answer); err != nil {
				b.Fatal(err)
			}
			c.Close()
		}
	})
}
