package webportal

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tshx/internal/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const addr = "localhost:3080"

var alice = identity.Identity{User: "alice", Roles: []string{"access"}, Logins: []string{"root"}}

// fixture is a portal with the apps hello, more and raw.
type fixture struct {
	*Portal
	t      testing.TB
	served []*http.Request // requests that came to an app
}

func newFixture(t testing.TB) *fixture {
	f := &fixture{t: t}
	f.Portal = New(Options{
		Addr: func() string { return addr }, Cluster: "lab",
		Apps: []App{{Name: "hello", Host: "hello.localhost"}, {Name: "more", Host: "MORE.localhost"}, {Name: "raw", Host: "raw.localhost", Instead: "tshx proxy app raw"}},
		ServeApp: func(w http.ResponseWriter, r *http.Request, app string) {
			f.served = append(f.served, r)
			io.WriteString(w, "this is "+app)
		},
		Resources: func(id identity.Identity) []Section {
			return []Section{
				{ID: "nodes", Title: "Nodes", Empty: "no nodes"},
				{ID: "apps", Title: "Apps", Items: []Item{{Name: "hello", Lines: []string{"tshx proxy app hello"}, Open: true}, {Name: "<raw>", Lines: []string{`tshx proxy app '<raw>"'`}}}},
			}
		},
	})
	t.Cleanup(f.Close)
	return f
}

// browser keeps cookies as a browser does, by host.
type browser struct {
	f       *fixture
	cookies map[string]map[string]string
	header  http.Header
	cert    *x509.Certificate
	remote  string
}

func (f *fixture) browser() *browser {
	return &browser{f: f, cookies: map[string]map[string]string{}, header: http.Header{"Accept": {"text/html"}}, remote: "192.0.2.1:999"}
}

// do makes one request.
func (b *browser) do(method, target string, edit ...func(*http.Request)) *http.Response {
	b.f.t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = b.remote
	r.TLS = &tls.ConnectionState{}
	if b.cert != nil {
		r.TLS.PeerCertificates = []*x509.Certificate{b.cert}
		r.TLS.VerifiedChains = [][]*x509.Certificate{{b.cert}}
	}
	for k, v := range b.header {
		r.Header[k] = v
	}
	for name, value := range b.cookies[r.URL.Hostname()] {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for _, f := range edit {
		f(r)
	}
	w := httptest.NewRecorder()
	b.f.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "next", http.StatusTeapot) })).ServeHTTP(w, r)
	resp := w.Result()
	for _, c := range resp.Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-tshx_") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
			b.f.t.Errorf("%s %s sets the cookie %v", method, target, c)
		}
		jar := b.cookies[r.URL.Hostname()]
		if jar == nil {
			jar = map[string]string{}
			b.cookies[r.URL.Hostname()] = jar
		}
		if jar[c.Name] = c.Value; c.MaxAge < 0 {
			delete(jar, c.Name)
		}
	}
	return resp
}

// follow goes where redirects lead, and returns the last answer and its URL.
func (b *browser) follow(resp *http.Response, from string) (*http.Response, string) {
	b.f.t.Helper()
	for range 10 {
		location := resp.Header.Get("Location")
		if _, to, ok := strings.Cut(resp.Header.Get("Refresh"), "url="); ok {
			location = to
		}
		if location == "" {
			return resp, from
		}
		u, _ := url.Parse(from)
		u, err := u.Parse(location)
		if err != nil {
			b.f.t.Fatal(err)
		}
		from = u.String()
		resp = b.do("GET", from)
	}
	b.f.t.Fatal("too many redirects, the last to " + from)
	return nil, ""
}

func (b *browser) get(target string) (*http.Response, string) {
	b.f.t.Helper()
	return b.follow(b.do("GET", target), target)
}

func (b *browser) signIn() {
	b.f.t.Helper()
	if resp := b.do("POST", "https://"+addr+b.f.Link(Login{Identity: alice})); resp.StatusCode != 303 {
		b.f.t.Fatalf("sign-in: %s", resp.Status)
	}
}

func body(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLinkWorksOnce(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	if resp, at := b.get("https://" + addr + "/"); at != "https://"+addr+"/web/login" || resp.StatusCode != 200 {
		t.Fatalf("unsigned: %s at %s", resp.Status, at)
	}
	link := "https://" + addr + f.Link(Login{Identity: alice})
	for range 2 { // looking at it does not use it up, nor does it sign in
		if resp := b.do("GET", link); resp.StatusCode != 200 || len(resp.Cookies()) > 0 || !strings.Contains(body(t, resp), "Continue as alice") {
			t.Fatalf("look: %s", resp.Status)
		}
	}
	resp := b.do("POST", link)
	if resp, at := b.follow(resp, link); at != "https://"+addr+"/" || !strings.Contains(body(t, resp), "Signed in as <strong>alice</strong>") {
		t.Fatalf("%s at %s", resp.Status, at)
	}
	other := f.browser()
	for _, method := range []string{"GET", "POST"} {
		if resp := other.do(method, link); resp.StatusCode != http.StatusGone || len(resp.Cookies()) > 0 {
			t.Errorf("second %s: %s", method, resp.Status)
		}
	}
	if resp := other.do("GET", "https://"+addr+"/"); resp.StatusCode != 303 {
		t.Errorf("another browser: %s", resp.Status)
	}
}

func TestLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		link := f.Link(Login{Identity: alice})
		b := f.browser()
		time.Sleep(LinkLifetime)
		if resp := b.do("POST", "https://"+addr+link); resp.StatusCode != http.StatusGone {
			t.Errorf("old link: %s", resp.Status)
		}
		for _, tt := range []struct {
			ends, want time.Duration
		}{{0, SessionLifetime}, {time.Hour, time.Hour}, {100 * time.Hour, SessionLifetime}} {
			b := f.browser()
			l := Login{Identity: alice}
			if tt.ends > 0 {
				l.Ends = time.Now().Add(tt.ends)
			}
			b.do("POST", "https://"+addr+f.Link(l))
			b.get("https://hello.localhost:3080/")
			begin := time.Now()
			for range 2 {
				for _, at := range []string{addr + "/", "hello.localhost:3080/"} {
					signed := b.do("GET", "https://"+at).StatusCode == 200
					if want := time.Since(begin) < tt.want; signed != want {
						t.Errorf("%s after %v of %v: signed in %v", at, time.Since(begin), tt.want, signed)
					}
				}
				time.Sleep(tt.want - time.Since(begin))
			}
			synctest.Wait()
			if n := len(f.sessions.all); n != 0 {
				t.Errorf("%d sessions are kept", n)
			}
		}
	})
}

// A session that somebody brings along is not the one that he signs in to, and
// the new one takes its place.
func TestNoFixation(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	name := f.cookieName(cookieSession)
	b.cookies["localhost"] = map[string]string{name: "chosen-by-somebody-else"}
	b.signIn()
	first := b.cookies["localhost"][name]
	if first == "chosen-by-somebody-else" || len(first) < 40 {
		t.Fatalf("session %q", first)
	}
	b.signIn()
	if again := b.cookies["localhost"][name]; again == first {
		t.Error("the session stayed")
	}
	old := f.browser()
	old.cookies["localhost"] = map[string]string{name: first}
	if resp := old.do("GET", "https://"+addr+"/"); resp.StatusCode != 303 {
		t.Errorf("the session before: %s", resp.Status)
	}
}

func TestAppSignIn(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	start := "https://hello.localhost:3080/a%2Fb//c?x=1&y=http://e.example/"
	resp, at := b.get(start)
	if !strings.HasPrefix(at, "https://"+addr+"/web/login?app=hello&") || resp.StatusCode != 200 {
		t.Fatalf("unsigned: %s at %s", resp.Status, at)
	}
	link := "https://" + addr + f.Link(Login{Identity: alice})
	resp, at = b.follow(b.do("POST", link), link)
	if at != start || body(t, resp) != "this is hello" {
		t.Fatalf("back: %s at %s", resp.Status, at)
	}
	// The other app has a session of its own, without a question.
	if resp, at := b.get("https://more.localhost:3080/"); at != "https://more.localhost:3080/" || body(t, resp) != "this is more" {
		t.Errorf("%s at %s", resp.Status, at)
	}
	name := f.cookieName(cookieSession)
	seen := map[string]bool{}
	for _, jar := range b.cookies {
		seen[jar[name]] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d different sessions at 3 names", len(seen))
	}
	// One name's cookie is nothing to another.
	for host, other := range map[string]string{"localhost": "hello.localhost", "hello.localhost": "more.localhost", "more.localhost": "localhost"} {
		thief := f.browser()
		thief.cookies[host] = map[string]string{name: b.cookies[other][name]}
		if resp := thief.do("GET", "https://"+host+":3080/"); resp.StatusCode != 303 {
			t.Errorf("%s with the cookie of %s: %s", host, other, resp.Status)
		}
	}
	b.do("POST", "https://"+addr+"/web/logout")
	for _, at := range []string{addr, "hello.localhost:3080", "more.localhost:3080"} {
		if resp := b.do("GET", "https://"+at+"/"); resp.StatusCode != 303 {
			t.Errorf("logged out, at %s: %s", at, resp.Status)
		}
	}
	if _, at := b.get(start); !strings.Contains(at, "/web/login") {
		t.Errorf("logged out, and at %s", at)
	}
}

// Cookies of portals do not reach an app, the app's own do, and nor does a
// request outlive its session.
func TestAppRequest(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signIn()
	b.get("https://hello.localhost:3080/")
	f.served = nil
	b.do("GET", "https://hello.localhost:3080/x", func(r *http.Request) {
		r.Header.Add("Cookie", "own=1; __Host-tshx_session_99=other; theme=dark")
	})
	if len(f.served) != 1 || f.served[0].Header.Get("Cookie") != "own=1; theme=dark" {
		t.Fatalf("served %v", f.served)
	}
	ctx := make(chan struct{})
	f.opts.ServeApp = func(_ http.ResponseWriter, r *http.Request, _ string) {
		b.do("POST", "https://"+addr+"/web/logout")
		<-r.Context().Done()
		close(ctx)
	}
	b.do("GET", "https://hello.localhost:3080/stream")
	<-ctx
}

// A code is good once, soon, at one name, and for the browser that has left from
// there.
func TestCodes(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signIn()
	leave := func(b *browser) *url.URL { // to the address with the code
		resp := b.do("GET", "https://hello.localhost:3080/")
		for range 2 {
			u, err := url.Parse(resp.Header.Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			if u.Path == authPath {
				return u
			}
			resp = b.do("GET", u.String())
		}
		t.Fatal("no code")
		return nil
	}
	for _, tt := range []struct {
		name string
		do   func(u *url.URL) *http.Response
	}{
		{"other browser", func(u *url.URL) *http.Response { return f.browser().do("GET", u.String()) }},
		{"other browser on its way", func(u *url.URL) *http.Response {
			other := f.browser()
			other.do("GET", "https://hello.localhost:3080/")
			return other.do("GET", u.String())
		}},
		{"other name", func(u *url.URL) *http.Response {
			u.Host = "more.localhost:3080"
			return b.do("GET", u.String())
		}},
		{"twice", func(u *url.URL) *http.Response {
			b.do("GET", u.String())
			return b.do("GET", u.String())
		}},
		{"other state", func(u *url.URL) *http.Response {
			q := u.Query()
			q.Set("state", "AAAA"+q.Get("state")[4:])
			u.RawQuery = q.Encode()
			return b.do("GET", u.String())
		}},
		{"no code", func(u *url.URL) *http.Response {
			u.RawQuery = ""
			return b.do("GET", u.String())
		}},
		{"by post", func(u *url.URL) *http.Response { return b.do("POST", u.String()) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			delete(b.cookies["hello.localhost"], f.cookieName(cookieSession))
			resp := tt.do(leave(b))
			if resp.StatusCode < 400 || len(resp.Cookies()) > 0 {
				t.Errorf("%s %v", resp.Status, resp.Cookies())
			}
		})
	}
	t.Run("late", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			b = f.browser()
			b.signIn()
			u := leave(b)
			time.Sleep(codeLifetime)
			if resp := b.do("GET", u.String()); resp.StatusCode != 403 {
				t.Error(resp.Status)
			}
		})
	})
}

// Nothing sends a browser anywhere but to the page and the apps.
func TestNoOpenRedirect(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signIn()
	for _, target := range []string{
		"https://hello.localhost:3080//evil.example/", "https://hello.localhost:3080/%5Cevil.example", "https://hello.localhost:3080/%2F/evil.example",
		"https://hello.localhost:3080/?next=https://evil.example/", "https://127.0.0.1:3080/web/login?app=//evil.example",
		"https://evil.example:3080/", "https://evil.example/web/login?app=hello&state=x", "https://" + addr + "/web/app/evil.example?state=x",
		"https://" + addr + "/web/app/..%2Fevil?state=x", "https://hello.localhost:3080/x-tshx-auth?state=//evil.example", "https://localhost:3080@evil.example/",
	} {
		resp := b.do("GET", target)
		from := target
		for range 10 {
			location := resp.Header.Get("Location")
			if location == "" {
				break
			}
			base, _ := url.Parse(from)
			u, err := base.Parse(location)
			if err != nil {
				t.Fatal(err)
			}
			if h := u.Hostname(); u.Scheme != "https" || h != "localhost" && h != "hello.localhost" && h != "more.localhost" {
				t.Errorf("%s leads to %s", target, u)
				break
			}
			from = u.String()
			resp = b.do("GET", from)
		}
	}
}

// What changes something is for pages of our own alone.
func TestOtherOrigins(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signIn()
	b.cert = certificate(alice)
	for _, h := range []http.Header{{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"https://hello.localhost:3080"}}, {"Origin": {"null"}}} {
		for _, path := range []string{"/web/logout", "/web/login", LinksPath, f.Link(Login{Identity: alice})} {
			resp := b.do("POST", "https://"+addr+path, func(r *http.Request) {
				for k, v := range h {
					r.Header[k] = v
				}
			})
			if resp.StatusCode != http.StatusForbidden || len(resp.Cookies()) > 0 {
				t.Errorf("%v %s: %s", h, path, resp.Status)
			}
		}
	}
	if resp := b.do("GET", "https://"+addr+"/"); resp.StatusCode != 200 {
		t.Errorf("no longer signed in: %s", resp.Status)
	}
	if resp := b.do("POST", "https://"+addr+"/web/logout", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }); resp.StatusCode != 303 {
		t.Errorf("own page: %s", resp.Status)
	}
}

func certificate(id identity.Identity) *x509.Certificate {
	n := id.Name()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: n.CommonName, Organization: n.Organization}, NotAfter: time.Now().Add(time.Hour)}
	c.Subject.FillFromRDNSequence(new(n.ToRDNSequence()))
	return c
}

func TestCertificate(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.cert = certificate(alice)
	// It is in each request, and signs in only where that is asked for.
	if resp, at := b.get("https://" + addr + "/"); at != "https://"+addr+"/web/login" || !strings.Contains(body(t, resp), "Continue as alice") {
		t.Fatalf("%s at %s", resp.Status, at)
	}
	login := "https://" + addr + "/web/login"
	if resp, at := b.follow(b.do("POST", login), login); at != "https://"+addr+"/" || resp.StatusCode != 200 {
		t.Fatalf("%s at %s", resp.Status, at)
	}
	resp := b.do("POST", "https://"+addr+LinksPath)
	var answer struct{ URL string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || !strings.HasPrefix(answer.URL, "https://"+addr+"/web/link/") {
		t.Fatalf("%+v, %v", answer, err)
	}
	if resp := f.browser().do("POST", answer.URL); resp.StatusCode != 303 {
		t.Errorf("link: %s", resp.Status)
	}
	for name, cert := range map[string]*x509.Certificate{
		"none":     nil,
		"database": certificate(identity.Identity{User: "alice", Roles: []string{"access"}, Usage: []string{identity.UsageDB}}),
		"app":      certificate(identity.Identity{User: "alice", Roles: []string{"access"}, App: identity.App{Name: "hello", SessionID: "s", PublicAddr: "x", Cluster: "lab"}}),
	} {
		b := f.browser()
		b.cert = cert
		for _, path := range []string{"/web/login", LinksPath} {
			if resp := b.do("POST", "https://"+addr+path); resp.StatusCode != 403 || len(resp.Cookies()) > 0 {
				t.Errorf("%s %s: %s", name, path, resp.Status)
			}
		}
	}
}

// Port 0 is that of a client whose address anybody could have claimed.
func TestPinnedSession(t *testing.T) {
	f := newFixture(t)
	id := alice
	id.PinnedIP = "192.0.2.1"
	b := f.browser()
	b.do("POST", "https://"+addr+f.Link(Login{Identity: id}))
	for remote, want := range map[string]int{"192.0.2.1:5": 200, "192.0.2.2:5": 303, "192.0.2.1:0": 303} {
		b.remote = remote
		if resp := b.do("GET", "https://"+addr+"/"); resp.StatusCode != want {
			t.Errorf("from %s: %s", remote, resp.Status)
		}
	}
}

func TestNames(t *testing.T) {
	f := newFixture(t)
	signed := f.browser()
	signed.signIn()
	for _, tt := range []struct {
		method, target string
		header         http.Header
		status         int
		want           string // in the body, or the Location
	}{
		{"GET", "https://localhost:3080/webapi/ping", nil, 418, "next"},
		{"GET", "https://anything.example/webapi/ping", nil, 418, "next"},
		{"GET", "https://localhost:3080/nothing", nil, 418, "next"},
		{"GET", "https://127.0.0.1:3080/?q=x", nil, 303, "https://localhost:3080/?q=x"},
		{"GET", "https://LOCALHOST./", nil, 200, "Signed in"}, // the cookie is the test's doing
		{"POST", "https://127.0.0.1:3080/web/logout", nil, 421, "https://localhost:3080"},
		{"GET", "https://raw.localhost:3080/", nil, 404, "tshx proxy app raw"},
		{"GET", "https://nothing.localhost:3080/", nil, 404, "nothing.localhost"},
		{"GET", "https://hello.localhost:3080/data", http.Header{"Accept": {"*/*"}}, 401, `"message"`},
		{"POST", "https://hello.localhost:3080/data", nil, 401, "tshx apps config hello"},
		{"GET", "https://hello.localhost:3080/data", http.Header{"Sec-Fetch-Mode": {"cors"}}, 401, "Sign in at"},
		{"GET", "https://Hello.Localhost/", http.Header{"Sec-Fetch-Mode": {"navigate"}}, 303, "https://localhost/web/app/hello?"},
	} {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			b := f.browser()
			if tt.status == 200 {
				b.cookies["LOCALHOST."] = signed.cookies["localhost"]
			}
			resp := b.do(tt.method, tt.target, func(r *http.Request) {
				for k, v := range tt.header {
					r.Header[k] = v
				}
			})
			if text := body(t, resp) + resp.Header.Get("Location"); resp.StatusCode != tt.status || !strings.Contains(text, tt.want) {
				t.Errorf("%s %s", resp.Status, text)
			}
		})
	}
}

// The page is searched without a script, too, and escapes what it shows.
func TestPage(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signIn()
	resp := b.do("GET", "https://"+addr+"/?q=RAW+proxy")
	text := body(t, resp)
	for _, want := range []string{`1 of 2 resources`, `<h3>&lt;raw&gt;</h3>`, `data-copy="tshx proxy app &#39;&lt;raw&gt;&#34;&#39;"`, `data-text="hello tshx proxy app hello" hidden`, `href="https://hello.localhost:3080/"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	csp := resp.Header.Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none';") || strings.Contains(csp, "unsafe") || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("header %v", resp.Header)
	}
}

func TestTicketsBounded(t *testing.T) {
	all := newTickets[int]()
	for range ticketsMost + 10 {
		all.issue(1, time.Hour)
	}
	if n := len(all.out); n != ticketsMost {
		t.Errorf("%d tickets", n)
	}
}

func TestSessionsBounded(t *testing.T) {
	f := newFixture(t)
	for range sessionsMost + 10 {
		f.sessions.begin(Login{Identity: alice}, "localhost")
	}
	if n := len(f.sessions.all); n != sessionsMost {
		t.Errorf("%d sessions", n)
	}
}
