package proxyserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/identity"
	"tshx/internal/reversetunnel"
	"tshx/internal/webportal"
)

// browse returns a client with cookies that finds every name at the proxy.
func (f *fixture) browse(alpn string) *http.Client {
	c := f.client(nil, alpn)
	tr := c.Transport.(*http.Transport)
	tr.TLSClientConfig.ServerName = "" // that of the URL
	tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", f.addr)
	}
	c.Jar, _ = cookiejar.New(nil)
	return c
}

// page asks for a page as browsers do.
func page(t testing.TB, c *http.Client, method, url string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	resp, err := c.Do(r)
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

// Somebody who has signed in reaches the apps by their names, which the
// certificate has, by either version of HTTP and whatever the app's address.
func TestWebApps(t *testing.T) {
	app := appServer(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto+" "+r.Host+" "+r.Header.Get("Cookie")+".")
	})
	other := App{Name: "other", URI: app.URI, PublicAddr: "wiki.example.com:443"}
	f := start(t, Options{PublicAddr: "proxy.example.com:3080", Apps: []App{app, other, {Name: "not a name", URI: app.URI}, {Name: "raw", URI: "tcp://127.0.0.1:1"}}})
	for _, alpn := range []string{"http/1.1", "h2"} {
		t.Run(alpn, func(t *testing.T) {
			f.t = t
			c := f.browse(alpn)
			link := "https://proxy.example.com:3080" + f.WebLink(webportal.Login{Identity: identity.Identity{User: "alice", Roles: []string{"access"}}})
			resp, body := page(t, c, "POST", link)
			if !strings.Contains(body, "Signed in as <strong>alice") {
				t.Fatalf("%s %s", resp.Status, body)
			}
			for url, want := range map[string]string{
				"https://app.proxy.example.com:3080/": "HTTP/1.1 app.proxy.example.com:3080 .",
				"https://wiki.example.com:3080/":      "HTTP/1.1 wiki.example.com:3080 .",
			} {
				if resp, body := page(t, c, "GET", url); body != want || (resp.ProtoMajor == 2) != (alpn == "h2") {
					t.Errorf("%s %q, want %q", resp.Proto, body, want)
				}
			}
			if resp, body := page(t, c, "GET", "https://raw.proxy.example.com:3080/"); resp.StatusCode != 404 || !strings.Contains(body, "tshx proxy app raw") {
				t.Errorf("%s %s", resp.Status, body)
			}
		})
	}
}

// An app may neither read nor set the cookies of the page, whose names are not for
// it.
func TestWebAppCookies(t *testing.T) {
	app := appServer(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Set-Cookie"] = []string{"own=1", "__Host-tshx_session_443=; Max-Age=0; Path=/; Secure", "theme=dark"}
		switch r.URL.Path {
		case "/change":
			h.Set("Connection", "Upgrade")
			h.Set("Upgrade", "chat")
			w.WriteHeader(http.StatusSwitchingProtocols)
		case "/refuse":
			w.WriteHeader(http.StatusUpgradeRequired)
		}
	})
	f := start(t, Options{Apps: []App{app}})
	cert := newUser(t).tls(appRoute("app"))
	for _, path := range []string{"/", "/refuse", "/change"} {
		c := f.dial(cert, "http/1.1")
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: app.localhost\r\n", path)
		if path != "/" {
			io.WriteString(c, "Connection: Upgrade\r\nUpgrade: chat\r\n")
		}
		io.WriteString(c, "\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"own=1", "theme=dark"}, resp.Header["Set-Cookie"]); diff != "" {
			t.Errorf("%s: %s\n%s", path, resp.Status, diff)
		}
	}
}

// What somebody is shown is what his certificate is good for.
func TestReachable(t *testing.T) {
	f := start(t, Options{
		Nodes: []Node{{Name: "node1", Addr: "127.0.0.1:1"}}, Databases: []Database{{Name: "o'rders", Protocol: "postgres", Addr: "127.0.0.1:1"}},
		Apps: []App{{Name: "acct", URI: "https://console.aws.amazon.com", AWS: &AWS{AccessKeyID: "a", SecretAccessKey: "b"}},
			{Name: "subscription", URI: "http://127.0.0.1:1", Cloud: "azure"}, {Name: "far", URI: "http://"}},
		Kubes: []Kube{apiServer(t, "demo", nil), {Name: "remote"}},
	})
	agentOf(t, f, "host1", echo, reversetunnel.Resource{Kind: kindNode, Name: "behind"}, reversetunnel.Resource{Kind: kindKube, Name: "remote"})
	text := func(id identity.Identity) string {
		var b strings.Builder
		for _, s := range f.reachable(id) {
			for _, i := range s.Items {
				b.WriteString(i.Text() + "\n")
			}
		}
		return b.String()
	}
	all := text(identity.Identity{Logins: []string{"root", "alice"}, AllowedDBUsers: []string{"reader"}, AllowedDBNames: []string{"*"}, KubeGroups: []string{"dev", "ops"}})
	for _, want := range []string{
		"node1 ssh as root, alice tshx ssh root@node1\n",
		`o'rders postgres as reader in any database tshx db connect 'o'\''rders' tshx proxy db 'o'\''rders' --tunnel` + "\n",
		"acct aws tshx aws --app acct sts get-caller-identity",
		"demo in dev, ops tshx kube login demo",
		"subscription azure tshx az --app subscription account show tshx proxy azure --app subscription\n",
		"far http no agent is connected tshx proxy app far\n",
		"remote in dev, ops tshx kube login remote",
		"behind ssh as root, alice tshx ssh root@behind\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
	for _, i := range f.reachable(identity.Identity{})[2].Items {
		if want := i.Name == "far"; i.Open != want {
			t.Errorf("%s opens in browsers: %v", i.Name, i.Open)
		}
	}
	if some := text(identity.Identity{User: "bob"}); strings.Contains(some, "node1") || strings.Contains(some, "demo") {
		t.Errorf("bob sees %s", some)
	}
}
