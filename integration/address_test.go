//go:build linux

package integration

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"tshx/integration/peer"
	"tshx/internal/conn"
	"tshx/internal/lab"
	"tshx/internal/proxyserver"
)

// Whose address the tests look for: that of a machine which is not this one as far
// as the balancer can tell.
const (
	clientIP  = "127.0.0.77"
	anotherIP = "127.0.0.78"
)

// watchedCluster is one whose log and HTTP app tell where clients come from.
type watchedCluster struct {
	*cluster
	log  *output
	seen *output // X-Forwarded-For of each request to the app "web", in brackets
}

// The clusters learn addresses by PROXY headers, by X-Forwarded-For, or not at all.
var (
	byHeader = share(func() (*watchedCluster, error) {
		return startWatched(lab.Config{ProxyProtocol: proxyserver.ProxyProtocolOn})
	})
	byAny       = share(func() (*watchedCluster, error) { return startWatched(lab.Config{}) })
	byForwarded = share(func() (*watchedCluster, error) { return startWatched(lab.Config{TrustForwardedFor: true}) })
)

func startWatched(c lab.Config) (*watchedCluster, error) {
	w := &watchedCluster{cluster: &cluster{}, log: &output{}, seen: &output{}}
	app := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w.seen, "%q", r.Header.Values("X-Forwarded-For"))
		io.WriteString(rw, "hello")
	}))
	atExit(app.Close)
	demo := lab.Demo()
	demo.Cluster, demo.ProxyProtocol, demo.TrustForwardedFor = "address.tshx.test", c.ProxyProtocol, c.TrustForwardedFor
	demo.Apps = append(demo.Apps, lab.App{Name: "web", URI: app.URL})
	demo.Log = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l, err := lab.Start(context.Background(), demo)
	if err != nil {
		return nil, err
	}
	atExit(func() { l.Close() })
	w.lab, w.config, w.direct = l, demo, loopback(l.Addr)
	return w, w.writeCA()
}

// hop carries connections to target as a machine with another address.
func hop(t testing.TB, ip, target string) string {
	t.Helper()
	return serve(t, func(c *net.TCPConn) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
		out, err := d.DialContext(t.Context(), "tcp", target)
		if err != nil {
			c.Close()
			return
		}
		conn.Splice(context.Background(), c, out)
	})
}

// addressed is a way on which the proxy gets to know the client's address.
type addressed struct {
	name    string
	cluster *shared[*watchedCluster]
	front   func(peer.Balancer) (*peer.Server, error)
	methods []string // of connection upgrades; none: raw
}

var addressedWays = []addressed{
	{"nginx stream proxy_protocol", byHeader, func(b peer.Balancer) (*peer.Server, error) { b.SendProxy = 1; return b.NginxStream() }, nil},
	{"haproxy send-proxy", byHeader, func(b peer.Balancer) (*peer.Server, error) { b.SendProxy = 1; return b.HAProxyPass() }, nil},
	{"haproxy send-proxy-v2", byHeader, func(b peer.Balancer) (*peer.Server, error) { b.SendProxy = 2; return b.HAProxyPass() }, nil},
	{"haproxy tcp send-proxy", byHeader, func(b peer.Balancer) (*peer.Server, error) { b.SendProxy = 1; return b.HAProxyTCP() }, []string{"", "legacy"}},
	{"haproxy tcp send-proxy-v2", byHeader, func(b peer.Balancer) (*peer.Server, error) { b.SendProxy = 2; return b.HAProxyTCP() }, []string{"", "legacy"}},
	{"haproxy http send-proxy-v2", byHeader, func(b peer.Balancer) (*peer.Server, error) { b.SendProxy = 2; return b.HAProxyHTTP() }, []string{"", "legacy"}},
	{"haproxy http forwardfor", byForwarded, func(b peer.Balancer) (*peer.Server, error) { b.ForwardedFor = true; return b.HAProxyHTTP() }, []string{"", "legacy"}},
	{"nginx http", byForwarded, peer.Balancer.Nginx, []string{"", "legacy"}},
}

// TestAddresses: the proxy knows who it serves, whatever stands in front: its log
// has the client's address on every route, apps are told, and certificates that are
// pinned to an address are good there alone.
func TestAddresses(t *testing.T) {
	for _, w := range addressedWays {
		methods := w.methods
		if methods == nil {
			methods = []string{"raw"}
		}
		for _, method := range methods {
			t.Run(w.name+" "+method, func(t *testing.T) {
				t.Parallel()
				nothingLeft(t)
				c := w.cluster.get(t)
				b, err := c.balancer(c.direct)
				check(t, err)
				s, err := w.front(b)
				check(t, err)
				t.Cleanup(s.Close)
				from := func(ip, pinned string) *transport {
					tr, err := c.login(at("localhost", hop(t, ip, s.Addr)), lab.HomeOptions{PinnedIP: pinned})
					check(t, err)
					if method != "" && method != "raw" {
						tr.env = append(tr.env, "TELEPORT_TLS_ROUTING_CONN_UPGRADE_MODE="+method)
					}
					return tr
				}
				c.speaks(t, from(clientIP, ""))
				for route, line := range map[string]string{
					"ssh": `route="?ssh root@node1"? remote=`, "db": `route="?db cache"? remote=`, "app": `route="?app echo"? remote=`, "web": `route="?app web"? remote=`,
				} {
					want := regexp.MustCompile(line + regexp.QuoteMeta(clientIP) + `:[1-9]\d* `)
					if !eventually(patience, func() bool { return want.MatchString(c.log.String()) }) {
						t.Errorf("%s: no line %s in\n%s", route, want, clip(c.log.String()))
					}
				}
				if want := fmt.Sprintf("%q", []string{clientIP}); !strings.Contains(c.seen.String(), want) {
					t.Errorf("the app was told %s, want %s", c.seen.String(), want)
				}
				if got := pings(t, from(clientIP, clientIP)); got != 0 {
					t.Errorf("pinned to the client's address: exit code %d", got)
				}
				if got := pings(t, from(anotherIP, clientIP)); got == 0 {
					t.Error("pinned to another address, and accepted")
				}
			})
		}
	}
}

// speaks uses each kind of route once.
func (c *watchedCluster) speaks(t testing.TB, tr *transport) {
	t.Helper()
	p := launch(t, tr.options(), tshxPath, "proxy", "ssh", "root@node1")
	if code := p.wait(); code != 0 || !strings.HasPrefix(p.stdout.String(), "SSH-2.0-") {
		t.Fatalf("ssh: exit code %d, %q", code, p.stdout.String())
	}
	if code := pings(t, tr); code != 0 {
		t.Fatalf("db: exit code %d", code)
	}
	echo := launch(t, tr.options(), tshxPath, "proxy", "app", "echo")
	tcp := dial(t, echo.lineAfter("address: "))
	answers(t, tcp)
	tcp.Close()
	web := launch(t, tr.options(), tshxPath, "proxy", "app", "web")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+web.lineAfter("address: ")+"/", nil)
	check(t, err)
	req.Header.Set("X-Forwarded-For", "198.51.100.1") // a lie
	resp, err := new(http.Transport).RoundTrip(req)
	check(t, err)
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello" {
		t.Fatalf("app: %s %q, %v", resp.Status, b, err)
	}
}

// logs waits for the proxy to log a text.
func (c *watchedCluster) logs(t testing.TB, text string) {
	t.Helper()
	if !eventually(patience, func() bool { return strings.Contains(c.log.String(), text) }) {
		t.Errorf("no %q in the log:\n%s", text, clip(c.log.String()))
	}
}

// pings returns the exit code of a ping of the database.
func pings(t testing.TB, tr *transport) int {
	t.Helper()
	return launch(t, tr.options(), tshxPath, "db", "ping", "cache").wait()
}

// TestAddressesRefused: connections that lack the header that is demanded, or have
// one that proves nothing for a certificate that is pinned.
func TestAddressesRefused(t *testing.T) {
	t.Run("no header", func(t *testing.T) {
		t.Parallel()
		c := byHeader.get(t)
		tr, err := c.login(at("localhost", c.direct), lab.HomeOptions{})
		check(t, err)
		if pings(t, tr) == 0 {
			t.Error("accepted")
		}
		c.logs(t, "no PROXY protocol header, and proxy_protocol is on")
	})
	t.Run("anybody's header", func(t *testing.T) {
		t.Parallel()
		c := byAny.get(t)
		b, err := c.balancer(c.direct)
		check(t, err)
		b.SendProxy = 2
		s, err := b.HAProxyPass()
		check(t, err)
		t.Cleanup(s.Close)
		for pinned, want := range map[string]bool{"": true, clientIP: false} {
			tr, err := c.login(at("localhost", hop(t, clientIP, s.Addr)), lab.HomeOptions{PinnedIP: pinned})
			check(t, err)
			if got := pings(t, tr) == 0; got != want {
				t.Errorf("pinned to %q: accepted %v, want %v", pinned, got, want)
			}
		}
		c.logs(t, "remote="+clientIP+":0 ")
	})
	t.Run("two addresses", func(t *testing.T) {
		t.Parallel()
		// A balancer in front of the balancer: the proxy cannot know whom to believe.
		c := byForwarded.get(t)
		b, err := c.balancer(c.direct)
		check(t, err)
		b.ForwardedFor = true
		inner, err := b.HAProxyHTTP()
		check(t, err)
		t.Cleanup(inner.Close)
		b.Backend = inner.Addr
		outer, err := b.HAProxyHTTP()
		check(t, err)
		t.Cleanup(outer.Close)
		tr, err := c.login(at("localhost", outer.Addr), lab.HomeOptions{})
		check(t, err)
		p := launch(t, tr.options(), tshxPath, "db", "ping", "cache")
		if code := p.wait(); code != codeFailure {
			t.Errorf("exit code %d", code)
		}
		oneLine(t, p.stderr.String(), `400.*X-Forwarded-For.*; let the balancer send one X-Forwarded-For header with one address`)
		s := upgradeTest(t, tr.options(), "upgrade", "test")
		if !strings.Contains(strings.Join(s.Advice, "; "), "one X-Forwarded-For header with one address") || s.Use.Works {
			t.Errorf("%+v", s)
		}
	})
}
