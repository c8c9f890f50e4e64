package proxyserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"

	"tshx/internal/upgrade"
)

// client speaks h1 or h2 to the proxy and, if set, shows a certificate.
func (f *fixture) client(cert *tls.Certificate, alpn ...string) *http.Client {
	var p http.Protocols
	p.SetHTTP2(slices.Contains(alpn, "h2"))
	p.SetHTTP1(!p.HTTP2() || slices.Contains(alpn, "http/1.1"))
	tr := &http.Transport{TLSClientConfig: config(testAuthority().Web.Pool(), cert, alpn...), Protocols: &p}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// keys lists the paths of all values in a JSON document.
func keys(prefix string, v any) []string {
	m, ok := v.(map[string]any)
	if !ok {
		return []string{prefix}
	}
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, keys(prefix+"."+k, m[k])...)
	}
	return list
}

// The answers have the shape of those of a real cluster.
func TestWebAPIShape(t *testing.T) {
	f := start(t, Options{KubeAddr: "127.0.0.1:1", Behavior: V14()})
	for _, name := range []string{"ping", "find"} {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile("testdata/webapi-" + name + ".json")
			if err != nil {
				t.Fatal(err)
			}
			var want, got map[string]any
			if err := json.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			resp, body := get(t, f.client(nil), "https://"+f.addr+"/webapi/"+name)
			if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != 200 {
				t.Fatalf("%d %q: %v", resp.StatusCode, body, err)
			}
			if diff := cmp.Diff(keys("", want), keys("", got)); diff != "" {
				t.Error(diff)
			}
			if got["cluster_name"] != testCluster {
				t.Errorf("cluster_name = %v", got["cluster_name"])
			}
		})
	}
}

func TestWebProtocols(t *testing.T) {
	f := start(t, Options{})
	for _, tt := range []struct {
		alpn []string
		want string
	}{
		{nil, "HTTP/1.1"},
		{[]string{"http/1.1"}, "HTTP/1.1"},
		{[]string{"h2"}, "HTTP/2.0"},
		{[]string{"h2", "http/1.1"}, "HTTP/1.1"},
	} {
		resp, _ := get(t, f.client(nil, tt.alpn...), "https://"+f.addr+"/webapi/find")
		if resp.Proto != tt.want {
			t.Errorf("%v: %s, want %s", tt.alpn, resp.Proto, tt.want)
		}
	}
}

func TestWebNotFound(t *testing.T) {
	f := start(t, Options{})
	resp, body := get(t, f.client(nil), "https://"+f.addr+"/web/nothing")
	var doc struct{ Error struct{ Message string } }
	if err := json.Unmarshal([]byte(body), &doc); err != nil || doc.Error.Message == "" {
		t.Errorf("body %q: %v", body, err)
	}
	if resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
}

func TestUpgrade(t *testing.T) {
	for _, tt := range []struct {
		name     string
		behavior Behavior
		method   upgrade.Method
		used     upgrade.Method
		fails    bool
	}{
		{"v17 websocket", V17(), upgrade.WebSocket, upgrade.WebSocket, false},
		{"v17 legacy", V17(), upgrade.Legacy, upgrade.Legacy, false},
		{"v14 legacy", V14(), upgrade.Legacy, upgrade.Legacy, false},
		{"v14 knows no websocket", V14(), upgrade.WebSocket, "", true},
		{"v14 falls back", V14(), upgrade.Auto, upgrade.Legacy, false},
		{"websocket only", Behavior{NoLegacy: true}, upgrade.Legacy, "", true},
	} {
		for _, kind := range []upgrade.Kind{upgrade.ALPN, upgrade.ALPNPing} {
			t.Run(tt.name+" "+string(kind), func(t *testing.T) {
				f := start(t, Options{Behavior: tt.behavior})
				target := upgrade.Target{Addr: f.addr, Roots: testAuthority().Web.Pool()}
				c, used, err := target.Connect(t.Context(), kind, tt.method)
				if tt.fails {
					if err == nil {
						c.Close()
						t.Fatal("upgrade succeeded")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if used != tt.used {
					t.Errorf("used %s, want %s", used, tt.used)
				}
				// Inside, the host certificate takes the place of the public one.
				inner := tls.Client(c, config(testAuthority().Host.Pool(), nil, "http/1.1"))
				io.WriteString(inner, "GET /webapi/find HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
				resp, err := http.ReadResponse(bufio.NewReader(inner), nil)
				if err != nil || resp.StatusCode != 200 {
					t.Fatalf("%v, %v", resp, err)
				}
				resp.Body.Close()
			})
		}
	}
}

func TestForwardedForTable(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []string
		want   string // empty: refused
	}{
		{"v4", []string{"203.0.113.9"}, "203.0.113.9:7"},
		{"v4 with port", []string{"203.0.113.9:1234"}, "203.0.113.9:1234"},
		{"v6", []string{"2001:db8::1"}, "[2001:db8::1]:7"},
		{"v6 in brackets", []string{"[2001:db8::1]"}, "[2001:db8::1]:7"},
		{"v6 with port", []string{"[2001:db8::1]:1234"}, "[2001:db8::1]:1234"},
		{"mapped", []string{"::ffff:203.0.113.9"}, "203.0.113.9:7"},
		{"spaces around", []string{" 203.0.113.9 "}, "203.0.113.9:7"},
		{"two addresses", []string{"203.0.113.9, 203.0.113.10"}, ""},
		{"two headers", []string{"203.0.113.9", "203.0.113.10"}, ""},
		{"the same twice", []string{"203.0.113.9", "203.0.113.9"}, ""},
		{"trailing comma", []string{"203.0.113.9,"}, ""},
		{"a name", []string{"client.example.com"}, ""},
		{"empty", []string{""}, ""},
		{"bad port", []string{"203.0.113.9:70000"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseForwardedFor(tt.values, 7)
			if tt.want == "" {
				if err == nil {
					t.Errorf("accepted as %v", got)
				}
				return
			}
			if err != nil || got.String() != tt.want {
				t.Errorf("%v, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestForwardedForRequests(t *testing.T) {
	// A kube forward shows the address that a handler inside an upgrade sees.
	for _, tt := range []struct {
		name    string
		trust   bool
		headers []string
		want    string // of the client; empty: observed
		status  int
	}{
		{"absent", true, nil, "", 101},
		{"trusted", true, []string{"203.0.113.9:1234"}, "203.0.113.9:1234", 101},
		{"not trusted", false, []string{"203.0.113.9:1234"}, "", 101},
		{"two headers", true, []string{"203.0.113.9", "203.0.113.9"}, "", 400},
		{"two headers, not trusted", false, []string{"203.0.113.9", "203.0.113.9"}, "", 101},
		{"comma", true, []string{"203.0.113.9, 203.0.113.10"}, "", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, Options{TrustForwardedFor: tt.trust})
			seen := make(chan net.Addr, 1)
			f.http.Handler = f.forwardedFor(&upgrade.Handler{Serve: func(_ context.Context, c net.Conn) {
				seen <- c.RemoteAddr()
				c.Close()
			}})
			c := f.dial(nil)
			req := "GET " + upgrade.Path + " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: alpn\r\n"
			for _, h := range tt.headers {
				req += "X-Forwarded-For: " + h + "\r\n"
			}
			io.WriteString(c, req+"\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Fatalf("status %d, want %d", resp.StatusCode, tt.status)
			}
			if tt.status != 101 {
				return
			}
			want := tt.want
			if want == "" {
				want = c.LocalAddr().String()
			}
			if got := (<-seen).String(); got != want {
				t.Errorf("client %s, want %s", got, want)
			}
		})
	}
}

func TestForwardedForContext(t *testing.T) {
	s := &Server{opts: Options{TrustForwardedFor: true}}
	var ctxAddr net.Addr
	var remote string
	h := s.forwardedFor(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctxAddr, remote = clientAddr(r.Context()), r.RemoteAddr
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "192.0.2.1:555"
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	h.ServeHTTP(httptest.NewRecorder(), r)
	want := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("203.0.113.9:555")).String()
	if ctxAddr.String() != want || remote != want {
		t.Errorf("context %v, request %s, want %s", ctxAddr, remote, want)
	}
}

func TestHTTPApp(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !websocket.IsWebSocketUpgrade(r) {
			io.WriteString(w, "hello "+r.Host+r.URL.Path)
			return
		}
		up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		kind, m, err := c.ReadMessage()
		if err == nil {
			c.WriteMessage(kind, m)
		}
	}))
	defer app.Close()
	f := start(t, Options{Apps: []App{{Name: "hello", URI: app.URL}, {Name: "raw", URI: "tcp://" + app.Listener.Addr().String()}, {Name: "down", URI: "http://127.0.0.1:1"}}})
	u := newUser(t)
	for _, tt := range []struct {
		name   string
		cert   *tls.Certificate
		path   string
		status int
		want   string
	}{
		{"app", u.tls(appRoute("hello")), "/x", 200, "hello " + f.addr + "/x"},
		{"even the paths of the web api", u.tls(appRoute("hello")), "/webapi/ping", 200, "/webapi/ping"},
		{"unknown", u.tls(appRoute("nothing")), "/", 403, "no such app"},
		{"a tcp app that speaks http", u.tls(appRoute("raw")), "/x", 200, "hello " + f.addr + "/x"},
		{"down", u.tls(appRoute("down")), "/", 502, "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := get(t, f.client(tt.cert, "http/1.1"), "https://"+f.addr+tt.path)
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, body, tt.status, tt.want)
			}
		})
	}
	t.Run("websocket", func(t *testing.T) {
		d := websocket.Dialer{TLSClientConfig: config(testAuthority().Web.Pool(), u.tls(appRoute("hello")), "http/1.1")}
		c, _, err := d.DialContext(t.Context(), "wss://"+f.addr+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.WriteMessage(websocket.TextMessage, []byte("ding"))
		if _, m, err := c.ReadMessage(); err != nil || string(m) != "ding" {
			t.Errorf("%q, %v", m, err)
		}
	})
}

func TestTCPApp(t *testing.T) {
	f := start(t, Options{Apps: []App{{Name: "echo", URI: "tcp://" + backend(t, echo)}, {Name: "web", URI: "http://127.0.0.1:1"}}})
	u := newUser(t)
	for _, tt := range []struct {
		name string
		cert *tls.Certificate
		want string
	}{
		{"echo", u.tls(appRoute("echo")), "ding"},
		{"unknown", u.tls(appRoute("nothing")), ""},
		{"no tcp app", u.tls(appRoute("web")), ""},
		{"no app", u.tls(dbRoute("x", "redis")), ""},
		{"no certificate", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := f.dial(tt.cert, "teleport-tcp")
			io.WriteString(c, "ding")
			c.CloseWrite()
			b, _ := io.ReadAll(c) // a refusal may reset the stream
			if string(b) != tt.want {
				t.Errorf("got %q, want %q", b, tt.want)
			}
		})
	}
}
