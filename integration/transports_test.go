//go:build linux

package integration

import (
	"net/url"
	"testing"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// transport is one way from tshx to a cluster.
type transport struct {
	cluster string   // name of the cluster
	addr    string   // of the proxy, as tshx is told it
	home    string   // TELEPORT_HOME
	caFile  string   // CA of the certificate that tshx sees first
	env     []string // further environment
}

// options are those of a program that uses the transport.
func (tr *transport) options() options {
	env := []string{"TELEPORT_HOME=" + tr.home, "TSHX_CA_FILE=" + tr.caFile, "HOME=" + tr.home, "XDG_CACHE_HOME=" + tr.home + "/cache"}
	return options{env: append(env, tr.env...)}
}

// start runs tshx until the end of the test. Then it must drain and must not
// have complained.
func (tr *transport) start(t testing.TB, args ...string) *program {
	t.Helper()
	p := launch(t, tr.options(), append([]string{tshxPath}, args...)...)
	t.Cleanup(func() { p.drained() })
	return p
}

// way says how a transport is built.
type way struct {
	cluster *shared[*cluster]
	front   func(peer.Balancer) (*peer.Server, error) // nil: no balancer
	squid   bool                                      // through the HTTP proxy
	user    *url.Userinfo                             // for the HTTP proxy
}

// named is a transport in a list of tests.
type named struct {
	name string
	way  string // that tshx must find: raw, or the upgrade's method
	*shared[*transport]
}

// transports are all ways that must carry everything.
var transports = []named{
	{"raw", "raw", share(way{cluster: modern}.build)},
	{"websocket nginx", "websocket", share(way{cluster: modern, front: peer.Balancer.Nginx}.build)},
	{"websocket strict nginx", "websocket", share(way{cluster: modern, front: strictNginx}.build)},
	{"websocket haproxy", "websocket", share(way{cluster: modern, front: peer.Balancer.HAProxyHTTP}.build)},
	{"legacy nginx", "legacy", share(way{cluster: old, front: peer.Balancer.Nginx}.build)},
	{"layer 4", "websocket", share(way{cluster: modern, front: peer.Balancer.HAProxyTCP}.build)},
	{"connect", "raw", share(way{cluster: modern, squid: true}.build)},
	{"connect websocket", "websocket", share(way{cluster: modern, front: peer.Balancer.Nginx, squid: true,
		user: url.UserPassword(peer.SquidUser, peer.SquidPassword)}.build)},
}

func strictNginx(b peer.Balancer) (*peer.Server, error) {
	b.OnlyWebSocket = true
	return b.Nginx()
}

// squidName is the proxy's host on the way through Squid, which alone knows
// it: tshx must not look it up, and it is no loopback name, for which HTTP
// proxies are not used.
const squidName = "proxy.tshx.test"

// squid is the HTTP proxy of a run.
var squid = share(func() (*peer.Squid, error) {
	s, err := peer.StartSquid(map[string]string{squidName: "127.0.0.1"})
	if err == nil {
		atExit(s.Close)
	}
	return s, err
})

func (w way) build() (*transport, error) {
	c, err := w.cluster.load()
	if err != nil {
		return nil, err
	}
	name, addr := "localhost", c.direct
	if w.squid {
		name, addr = squidName, c.named
	}
	if w.front != nil {
		b, err := c.balancer(addr)
		if err != nil {
			return nil, err
		}
		s, err := kept(w.front(b))
		if err != nil {
			return nil, err
		}
		addr = s.Addr
	}
	tr, err := c.login(at(name, addr), lab.HomeOptions{})
	if err != nil || !w.squid {
		return tr, err
	}
	s, err := squid.load()
	if err != nil {
		return nil, err
	}
	proxy := url.URL{Scheme: "http", Host: s.Addr, User: w.user}
	if w.user != nil {
		proxy.Host = s.AuthAddr
	}
	tr.env = append(tr.env, "HTTPS_PROXY="+proxy.String())
	return tr, nil
}

// transportNamed returns one of transports.
func transportNamed(t testing.TB, name string) *transport {
	t.Helper()
	return pick(t, transports, name)
}

// pick returns the transport of this name.
func pick(t testing.TB, list []named, name string) *transport {
	t.Helper()
	for _, tt := range list {
		if tt.name == name {
			return tt.get(t)
		}
	}
	t.Fatalf("no transport %q", name)
	return nil
}
