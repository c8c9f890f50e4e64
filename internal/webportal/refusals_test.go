package webportal

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// leaving is the address, with a code, by which a browser that is signed in comes
// from the page to an app's name.
func (b *browser) leaving(app, path string) *url.URL {
	b.f.t.Helper()
	delete(b.cookies[app+".localhost"], b.f.cookieName(cookieSession))
	resp := b.do("GET", "https://"+app+".localhost:3080/"+path)
	for range 2 {
		u, err := url.Parse(resp.Header.Get("Location"))
		if err != nil {
			b.f.t.Fatal(err)
		}
		if u.Path == authPath {
			return u
		}
		resp = b.do("GET", u.String())
	}
	b.f.t.Fatal("no code")
	return nil
}

// with is a URL with another value in its query.
func with(u *url.URL, name, value string) *url.URL {
	q := u.Query()
	q.Set(name, value)
	other := *u
	other.RawQuery = q.Encode()
	return &other
}

// A code goes with the state and the name that it was made for, and is worth as
// much as the session behind it, when it is used.
func TestCodeBelongs(t *testing.T) {
	for name, refused := range map[string]func(*browser) *http.Response{
		"state of another time": func(b *browser) *http.Response {
			first, second := b.leaving("hello", "a"), b.leaving("hello", "b")
			return b.do("GET", with(first, "state", second.Query().Get("state")).String())
		},
		"code of another name": func(b *browser) *http.Response {
			state := b.leaving("hello", "").Query().Get("state")
			resp := b.do("GET", "https://"+addr+"/web/app/more?"+url.Values{"state": {state}}.Encode())
			to, err := url.Parse(resp.Header.Get("Location"))
			if err != nil {
				b.f.t.Fatal(err)
			}
			to.Host = "hello.localhost:3080"
			return b.do("GET", to.String())
		},
		"signed out meanwhile": func(b *browser) *http.Response {
			u := b.leaving("hello", "")
			b.do("POST", "https://"+addr+"/web/logout")
			return b.do("GET", u.String())
		},
		"from another address than the login is for": func(b *browser) *http.Response {
			id := alice
			id.PinnedIP = "192.0.2.1"
			b.do("POST", "https://"+addr+b.f.Link(Login{Identity: id}))
			u := b.leaving("hello", "")
			b.remote = "192.0.2.2:999"
			return b.do("GET", u.String())
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			b := f.browser()
			b.signIn()
			if resp := b.do("GET", b.leaving("hello", "").String()); resp.StatusCode != 303 || len(resp.Cookies()) == 0 {
				t.Fatalf("by its own code: %s", resp.Status)
			}
			if resp := refused(b); resp.StatusCode != http.StatusForbidden || len(resp.Cookies()) > 0 {
				t.Errorf("%s %v", resp.Status, resp.Cookies())
			}
		})
	}
}

// Somebody who has taken too long to sign in on the way to an app starts again from
// there.
func TestStateEnds(t *testing.T) {
	for wait, code := range map[time.Duration]int{stateLifetime - time.Second: http.StatusSeeOther, stateLifetime: http.StatusForbidden} {
		synctest.Test(t, func(t *testing.T) {
			f := newFixture(t)
			b := f.browser()
			resp := b.do("GET", "https://hello.localhost:3080/")
			time.Sleep(wait)
			b.signIn()
			resp = b.do("GET", resp.Header.Get("Location"))
			if resp = b.do("GET", resp.Header.Get("Location")); resp.StatusCode != code {
				t.Errorf("after %v: %s", wait, resp.Status)
			}
		})
	}
}

// An address that is too long to be carried along is forgotten, and the app found.
func TestLongAddress(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signIn()
	resp := b.do("GET", "https://hello.localhost:3080/"+strings.Repeat("a", stateMost))
	if n := len(resp.Header.Get("Location")); n > stateMost {
		t.Errorf("a Location of %d bytes", n)
	}
	if resp, at := b.follow(resp, "https://hello.localhost:3080/"); at != "https://hello.localhost:3080/" || resp.StatusCode != 200 {
		t.Errorf("%s at %s", resp.Status, at)
	}
}

// Whom nobody has verified is nobody, whatever the certificate says.
func TestUnverifiedCertificate(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.cert = certificate(alice)
	for _, path := range []string{"/web/login", LinksPath} {
		resp := b.do("POST", "https://"+addr+path, func(r *http.Request) { r.TLS.VerifiedChains = nil })
		if resp.StatusCode != http.StatusForbidden || len(resp.Cookies()) > 0 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	resp := b.do("GET", "https://"+addr+"/web/login", func(r *http.Request) { r.TLS.VerifiedChains = [][]*x509.Certificate{} })
	if text := body(t, resp); strings.Contains(text, "Continue as") {
		t.Errorf("%s", text)
	}
}

// Where somebody wanted to go is forgotten once he is there: the next sign-in leads
// to the page. So is the session's secret once he has signed out.
func TestCookiesForgotten(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.get("https://hello.localhost:3080/")
	link := "https://" + addr + f.Link(Login{Identity: alice})
	if _, at := b.follow(b.do("POST", link), link); at != "https://hello.localhost:3080/" {
		t.Fatalf("at %s", at)
	}
	b.do("POST", "https://"+addr+"/web/logout")
	for _, kind := range []string{cookieSession, cookieNext} {
		if value, ok := b.cookies["localhost"][f.cookieName(kind)]; ok {
			t.Errorf("the cookie %s is left with %q", kind, value)
		}
	}
	link = "https://" + addr + f.Link(Login{Identity: alice})
	if _, at := b.follow(b.do("POST", link), link); at != "https://"+addr+"/" {
		t.Errorf("at %s", at)
	}
}

// The end of a portal, and a session that had to make room, end what goes on.
func TestRequestsEnd(t *testing.T) {
	for name, end := range map[string]func(*fixture){
		"portal": func(f *fixture) { f.Close() },
		"no room": func(f *fixture) {
			for range sessionsMost {
				f.sessions.begin(Login{Identity: alice}, "localhost")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t)
				b := f.browser()
				b.do("POST", "https://"+addr+f.Link(Login{Identity: alice, Ends: time.Now().Add(time.Hour)})) // less than others have
				b.get("https://hello.localhost:3080/")
				f.opts.ServeApp = func(_ http.ResponseWriter, r *http.Request, _ string) {
					begin := time.Now()
					end(f)
					<-r.Context().Done()
					if took := time.Since(begin); took > 0 {
						t.Errorf("it went on for %v", took)
					}
				}
				b.do("GET", "https://hello.localhost:3080/stream")
				if resp := b.do("GET", "https://"+addr+"/"); resp.StatusCode != 303 {
					t.Errorf("still signed in: %s", resp.Status)
				}
			})
		})
	}
}

// What holds secrets is kept by nobody and told to nobody, and a page is shown in no
// other.
func TestSecretHeaders(t *testing.T) {
	f := newFixture(t)
	b := f.browser()
	b.signIn()
	b.cert = certificate(alice)
	leave := b.do("GET", "https://hello.localhost:3080/")
	for name, resp := range map[string]*http.Response{
		"leaving": leave, "code": b.do("GET", leave.Header.Get("Location")), "page": b.do("GET", "https://"+addr+"/"),
		"link": b.do("POST", "https://"+addr+LinksPath),
	} {
		h := resp.Header
		if h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept: %v", name, h)
		}
		if resp.StatusCode == 303 && h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s may be told: %v", name, h)
		}
		if name == "page" && (!strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || h.Get("X-Frame-Options") != "DENY") {
			t.Errorf("%s may be shown in another: %v", name, h)
		}
	}
	if resp := f.browser().do("HEAD", "https://hello.localhost:3080/"); resp.StatusCode != 303 {
		t.Errorf("HEAD: %s", resp.Status)
	}
}
