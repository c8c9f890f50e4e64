package proxyserver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"

	"tshx/internal/identity"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

const (
	proxyV1   = "PROXY TCP4 203.0.113.9 127.0.0.1 4711 443\r\n"
	proxyPort = "PROXY TCP4 203.0.113.9 127.0.0.1 0 443\r\n"
)

// proxyV2 is a header of version 2, with a field of the kind that proxies of one
// cluster send each other.
func proxyV2(t testing.TB, command proxyproto.ProtocolVersionAndCommand, ip string) string {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(2, &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711}, &net.TCPAddr{IP: net.ParseIP(ip), Port: 443})
	h.Command = command
	if err := h.SetTLVs([]proxyproto.TLV{{Type: 0xE4, Value: []byte("\x01a certificate")}}); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// logged collects the log of a server.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// begin connects and sends text before TLS.
func (f *fixture) begin(text string, cfg *tls.Config) *tls.Conn {
	f.t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		f.t.Fatal(err)
	}
	return tls.Client(c, cfg)
}

// asks sends a word to the echo at the other end and returns what comes back,
// nothing if the connection has come to nothing.
func asks(c net.Conn) string {
	io.WriteString(c, "ding")
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	b, _ := io.ReadAll(c)
	return string(b)
}

func TestProxyProtocol(t *testing.T) {
	unset, on, off := ProxyProtocolUnset, ProxyProtocolOn, ProxyProtocolOff
	observed := `127\.0\.0\.1:[1-9]\d*`
	for _, tt := range []struct {
		name   string
		mode   ProxyProtocol
		header string
		client string // pattern; empty: refused
		says   string // in the log of a refusal
	}{
		{"unset, none", unset, "", observed, ""},
		{"unset, v1", unset, proxyV1, `203\.0\.113\.9:0`, ""},
		{"unset, v2", unset, proxyV2(t, proxyproto.PROXY, "203.0.113.9"), `203\.0\.113\.9:0`, ""},
		{"unset, health check", unset, proxyV2(t, proxyproto.LOCAL, "203.0.113.9"), `127\.0\.0\.1:0`, ""},
		{"on, none", on, "", "", "proxy_protocol is on"},
		{"on, v1", on, proxyV1, `203\.0\.113\.9:4711`, ""},
		{"on, v2", on, proxyV2(t, proxyproto.PROXY, "203.0.113.9"), `203\.0\.113\.9:4711`, ""},
		{"on, v2, IPv6", on, proxyV2(t, proxyproto.PROXY, "2001:db8::9"), `\[2001:db8::9\]:4711`, ""},
		{"on, v1, port 0", on, proxyPort, `203\.0\.113\.9:0`, ""},
		{"on, v1, unknown", on, "PROXY UNKNOWN\r\n", observed, ""},
		{"on, v2, health check", on, proxyV2(t, proxyproto.LOCAL, "203.0.113.9"), observed, ""},
		{"off, none", off, "", observed, ""},
		{"off, v1", off, proxyV1, "", "proxy_protocol is off"},
		{"off, v2", off, proxyV2(t, proxyproto.PROXY, "203.0.113.9"), "", "proxy_protocol is off"},
		{"on, two", on, proxyV1 + proxyV1, "", "read client hello"},
		{"unset, wrong words", unset, "PROXY to 203.0.113.9\r\n", "", "read PROXY protocol header"},
		{"on, wrong words", on, "PROXY to 203.0.113.9\r\n", "", "read PROXY protocol header"},
		{"on, wrong address", on, "PROXY TCP4 203.0.113.900 127.0.0.1 1 1\r\n", "", "read PROXY protocol header"},
		{"on, wrong port", on, "PROXY TCP4 203.0.113.9 127.0.0.1 70000 1\r\n", "", "read PROXY protocol header"},
		{"on, no end", on, "PROXY TCP4 " + strings.Repeat("1", 200), "", "read PROXY protocol header"},
		{"on, v2, version 3", on, "\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c", "", "read PROXY protocol header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log logged
			f := start(t, Options{ProxyProtocol: tt.mode, Log: log.logger(), Apps: []App{{Name: "echo", URI: "tcp://" + backend(t, echo)}}})
			got := asks(f.begin(tt.header, config(testAuthority().Web.Pool(), newUser(t).tls(appRoute("echo")), tlsroute.ALPNTCP)))
			f.Close() // waits for the last line
			want, line := "ding", `route="app echo" remote=`+tt.client+" "
			if tt.client == "" {
				want, line = "", `remote=\S+:\d+ .*`+tt.says
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if !regexp.MustCompile(line).MatchString(log.String()) {
				t.Errorf("no line %s in\n%s", line, log.String())
			}
		})
	}
}

// A connection that says nothing does not wait for ever.
func TestProxyProtocolTime(t *testing.T) {
	for _, mode := range []ProxyProtocol{ProxyProtocolUnset, ProxyProtocolOn, ProxyProtocolOff} {
		for _, text := range []string{"", "\r\n\r\n\x00\r\nQUIT\n\x21\x11"} {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				defer server.Close()
				began := time.Now()
				go io.WriteString(client, text)
				_, err := mode.client(server)
				if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != proxyHeaderTimeout {
					t.Errorf("%q behind %q: %v after %v", mode, text, err, took)
				}
			})
		}
	}
}

// A certificate that is pinned to an address is good at that address, if the
// address is certain, in an upgrade too.
func TestProxyProtocolPinned(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mode   ProxyProtocol
		header string
		pinned string
		want   string
	}{
		{"the client's", ProxyProtocolOn, proxyV1, "203.0.113.9", "ding"},
		{"another", ProxyProtocolOn, proxyV1, "203.0.113.10", ""},
		{"the balancer's", ProxyProtocolOn, proxyV1, "127.0.0.1", ""},
		{"no port", ProxyProtocolOn, proxyPort, "203.0.113.9", ""},
		{"anybody's header", ProxyProtocolUnset, proxyV1, "203.0.113.9", ""},
		{"no header", ProxyProtocolUnset, "", "127.0.0.1", "ding"},
	} {
		for _, upgraded := range []bool{false, true} {
			name := tt.name
			if upgraded {
				name += ", upgraded"
			}
			t.Run(name, func(t *testing.T) {
				f := start(t, Options{ProxyProtocol: tt.mode, Apps: []App{{Name: "echo", URI: "tcp://" + backend(t, echo)}}})
				id := appRoute("echo")
				id.PinnedIP = tt.pinned
				cert := newUser(t).tls(id)
				c := f.begin(tt.header, config(testAuthority().Web.Pool(), cert, tlsroute.ALPNTCP))
				if upgraded {
					outer := f.begin(tt.header, config(testAuthority().Web.Pool(), nil))
					switchTo(t, outer, "")
					c = tls.Client(outer, config(testAuthority().Host.Pool(), cert, tlsroute.ALPNTCP))
				}
				if got := asks(c); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
}

// switchTo asks for an upgrade of type alpn, with further headers.
func switchTo(t testing.TB, c net.Conn, headers string) {
	t.Helper()
	io.WriteString(c, "GET "+upgrade.Path+" HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: alpn\r\n"+headers+"\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || r.Buffered() != 0 {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
}

// A header inside of an upgrade is the client's own: it would choose its address.
func TestProxyProtocolInside(t *testing.T) {
	for _, mode := range []ProxyProtocol{ProxyProtocolUnset, ProxyProtocolOn} {
		f := start(t, Options{ProxyProtocol: mode, Apps: []App{{Name: "echo", URI: "tcp://" + backend(t, echo)}}})
		outer := f.begin(proxyV1, config(testAuthority().Web.Pool(), nil))
		switchTo(t, outer, "")
		io.WriteString(outer, "PROXY TCP4 198.51.100.1 127.0.0.1 1 443\r\n")
		c := tls.Client(outer, config(testAuthority().Host.Pool(), newUser(t).tls(appRoute("echo")), tlsroute.ALPNTCP))
		if got := asks(c); got != "" {
			t.Errorf("%q: answered %q", mode, got)
		}
	}
}

// HTTP apps and Kubernetes are told the client's address, and not what the client
// says about it. What passes an upgrade does so unseen by the balancer: addresses
// in there are the client's too, however many.
func TestClientTold(t *testing.T) {
	seen := make(chan []string, 1)
	answer := func(w http.ResponseWriter, r *http.Request) { seen <- r.Header.Values("X-Forwarded-For") }
	app := httptest.NewServer(http.HandlerFunc(answer))
	defer app.Close()
	o := Options{
		ProxyProtocol: ProxyProtocolOn, TrustForwardedFor: true,
		Apps: []App{{Name: "hello", URI: app.URL}}, Kubes: []Kube{apiServer(t, "demo", answer)},
	}
	f := start(t, o)
	web, host := testAuthority().Web.Pool(), testAuthority().Host.Pool()
	const own = "X-Forwarded-For: 198.51.100.1, 198.51.100.2\r\nX-Forwarded-For: 198.51.100.3\r\n"
	for _, route := range []struct {
		name string
		id   identity.Identity
		tls  func(cert *tls.Certificate, upgraded bool) *tls.Config
	}{
		{"app", appRoute("hello"), func(cert *tls.Certificate, upgraded bool) *tls.Config {
			if upgraded {
				return config(host, cert, "http/1.1")
			}
			return config(web, cert, "http/1.1")
		}},
		{"kube", kubeRoute("demo"), func(cert *tls.Certificate, _ bool) *tls.Config { return kubeConfig(cert) }},
	} {
		for _, way := range []struct{ name, balancer, own, want string }{
			{"direct", "", "", "203.0.113.9"},
			{"upgraded", "\r\n", "", "203.0.113.9"},
			{"upgraded, lies", "\r\n", own, "203.0.113.9"},
			{"balancer", "X-Forwarded-For: 203.0.113.77\r\n", "", "203.0.113.77"},
			{"balancer, lies", "X-Forwarded-For: 203.0.113.77\r\n", own, "203.0.113.77"},
		} {
			for _, upgrades := range []string{"", "Connection: Upgrade\r\nUpgrade: websocket\r\n"} {
				t.Run(route.name+" "+way.name+" "+strings.TrimSpace(upgrades), func(t *testing.T) {
					cfg := route.tls(newUser(t).tls(route.id), way.balancer != "")
					c := f.begin(proxyV1, cfg)
					if way.balancer != "" {
						outer := f.begin(proxyV1, config(web, nil))
						switchTo(t, outer, strings.TrimPrefix(way.balancer, "\r\n"))
						c = tls.Client(outer, cfg)
					}
					io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n"+upgrades+way.own+"\r\n")
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil || resp.StatusCode != http.StatusOK {
						t.Fatalf("%v, %v", resp, err)
					}
					resp.Body.Close()
					if got := <-seen; len(got) != 1 || got[0] != way.want {
						t.Errorf("told %q, want %q", got, way.want)
					}
				})
			}
		}
	}
}
