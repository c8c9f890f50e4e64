package webportal

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tshx/internal/identity"
)

// sessionsMost bounds how many browsers are signed in. One more ends the oldest.
const sessionsMost = 1 << 10

// session is one browser that is signed in, at the page or at one app.
type session struct {
	id     identity.Identity
	host   string // that its cookie is for
	secret string // the cookie's value
	ends   time.Time
	ctx    context.Context // ends with the session
	end    context.CancelFunc
}

// at is the session of the same browser at an app. It ends with this one. That
// the secret follows from this one's makes two windows on the way to one app
// come to the same session.
func (s *session) at(host string) *session {
	mac := hmac.New(sha256.New, []byte(s.secret))
	mac.Write([]byte(host))
	return &session{id: s.id, host: host, secret: base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), ends: s.ends}
}

func (s *session) valid() bool { return s.ctx.Err() == nil && time.Now().Before(s.ends) }

// from reports whether a request comes from where the session may be used. Port 0
// marks an address that is not certain, as it does for pinned certificates.
func (s *session) from(r *http.Request) bool {
	if s.id.PinnedIP == "" {
		return true
	}
	host, port, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && port != "0" && net.ParseIP(s.id.PinnedIP).Equal(net.ParseIP(host))
}

// sessions are those that have not ended, by the hashes of their secrets.
type sessions struct {
	ctx context.Context
	mu  sync.Mutex
	all map[[sha256.Size]byte]*session
}

func newSessions(ctx context.Context) *sessions {
	return &sessions{ctx: ctx, all: make(map[[sha256.Size]byte]*session)}
}

// begin makes a session of a login at the page.
func (all *sessions) begin(l Login, host string) *session {
	ends := time.Now().Add(SessionLifetime)
	if !l.Ends.IsZero() && l.Ends.Before(ends) {
		ends = l.Ends
	}
	return all.add(all.ctx, &session{id: l.Identity, host: host, secret: newSecret(), ends: ends})
}

// derive makes the session of a browser at an app, or returns the one there is.
func (all *sessions) derive(page *session, host string) *session {
	return all.add(page.ctx, page.at(host))
}

func (all *sessions) add(above context.Context, s *session) *session {
	h := sha256.Sum256([]byte(s.secret))
	all.mu.Lock()
	defer all.mu.Unlock()
	if old := all.all[h]; old != nil && old.valid() {
		return old
	}
	if len(all.all) >= sessionsMost {
		all.drop()
	}
	s.ctx, s.end = context.WithDeadline(above, s.ends)
	all.all[h] = s
	context.AfterFunc(s.ctx, func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		if all.all[h] == s {
			delete(all.all, h)
		}
	})
	return s
}

// drop ends the session that has the least time left.
func (all *sessions) drop() {
	var first *session
	for _, s := range all.all {
		if first == nil || s.ends.Before(first.ends) {
			first = s
		}
	}
	delete(all.all, sha256.Sum256([]byte(first.secret)))
	first.end()
}

// find returns the session of a request at a host; nil if there is none.
func (all *sessions) find(r *http.Request, cookie, host string) *session {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, c := range r.CookiesNamed(cookie) {
		s := all.all[sha256.Sum256([]byte(c.Value))]
		if s != nil && s.host == host && s.valid() && s.from(r) {
			return s
		}
	}
	return nil
}

// cookiePrefix is of all cookies of all portals. Its beginning has browsers take
// them from nobody but the host itself, by TLS (RFC 6265bis, section 4.1.3.2).
const cookiePrefix = "__Host-tshx_"

// The cookies of a portal, by what they hold.
const (
	cookieSession = "session" // its secret
	cookieBrowser = "browser" // at an app: a secret that a state is tied to
	cookieNext    = "next"    // at the page: where somebody wanted to go who must sign in
)

// cookieName has our port, for ports have no cookies of their own: several labs
// on one machine are apart.
func (p *Portal) cookieName(kind string) string {
	_, port, _ := net.SplitHostPort(p.opts.Addr())
	return cookiePrefix + kind + "_" + port
}

// setCookie sets a cookie for as long as the browser runs, or for so long. A
// negative lifetime deletes it.
func (p *Portal) setCookie(w http.ResponseWriter, kind, value string, lifetime time.Duration) {
	age := int(lifetime / time.Second)
	if lifetime < 0 { // and 0 says nothing of its end
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: p.cookieName(kind), Value: value, MaxAge: age,
		Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// cookie returns the value of one of our cookies.
func (p *Portal) cookie(r *http.Request, kind string) string {
	c, err := r.Cookie(p.cookieName(kind))
	if err != nil {
		return ""
	}
	return c.Value
}

// hideCookies deletes the cookies of portals from a request.
func hideCookies(h http.Header) {
	var kept []string
	for _, line := range h.Values("Cookie") {
		for c := range strings.SplitSeq(line, ";") {
			if c = strings.TrimSpace(c); c != "" && !strings.HasPrefix(c, cookiePrefix) {
				kept = append(kept, c)
			}
		}
	}
	h.Del("Cookie")
	if len(kept) > 0 {
		h.Set("Cookie", strings.Join(kept, "; "))
	}
}

// HideSetCookies deletes from an app's answer what would set the cookies of
// portals: it could sign the browser out, and would never come back to the app.
func HideSetCookies(h http.Header) {
	set := slices.DeleteFunc(h["Set-Cookie"], func(line string) bool {
		return strings.HasPrefix(strings.TrimSpace(line), cookiePrefix)
	})
	if h["Set-Cookie"] = set; len(set) == 0 {
		h.Del("Set-Cookie")
	}
}
