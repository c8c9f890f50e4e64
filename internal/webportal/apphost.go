package webportal

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// authPath is the one path of an app's name that is not the app's.
const authPath = "/x-tshx-auth"

// stateMost is how long an address may be, in bytes, that somebody comes back to;
// else it is the app's first page.
const stateMost = 2 << 10

// code is what a browser brings from the page to an app's name.
type code struct {
	page  *session
	host  string
	state string
}

// serveAppHost answers what is asked for by an app's name.
func (p *Portal) serveAppHost(w http.ResponseWriter, r *http.Request, at place, app App) {
	if r.URL.Path == authPath {
		p.arrive(w, r, at)
		return
	}
	s := p.sessions.find(r, p.cookieName(cookieSession), at.host)
	switch {
	case s != nil:
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		r = r.WithContext(ctx)
		hideCookies(r.Header)
		p.opts.ServeApp(w, r, app.Name)
	case wantsPage(r):
		p.leave(w, r, at, app)
	default:
		p.Message(w, r, http.StatusUnauthorized, "Not signed in", "Sign in at "+p.origin(at)+"/, or use the app's certificate: tshx apps config "+app.Name+" --format curl")
	}
}

// leave sends a browser that is not signed in to the page, with a state that
// only it can come back with.
func (p *Portal) leave(w http.ResponseWriter, r *http.Request, at place, app App) {
	browser := p.cookie(r, cookieBrowser)
	if browser == "" {
		browser = newSecret()
	}
	p.setCookie(w, cookieBrowser, browser, stateLifetime)
	state := p.state(at.host, browser, r.URL.RequestURI(), time.Now().Add(stateLifetime))
	redirect(w, p.origin(at)+"/web/app/"+url.PathEscape(app.Name)+"?"+url.Values{"state": {state}}.Encode())
}

// toApp sends a browser that is signed in on to an app, with a code.
func (p *Portal) toApp(w http.ResponseWriter, r *http.Request) {
	name, state := r.PathValue("name"), r.FormValue("state")
	var host string
	for _, a := range p.apps {
		if a.Name == name && a.Instead == "" {
			host = a.Host
		}
	}
	origin := "https://" + host + p.place(r).port
	s := p.current(r)
	switch {
	case host == "":
		p.Message(w, r, http.StatusNotFound, "No such app", "There is none by this name for browsers.")
	case s == nil:
		redirect(w, "/web/login?"+url.Values{"app": {name}, "state": {state}}.Encode())
	case state == "": // it will be back with one
		redirect(w, origin+"/")
	default:
		c := p.codes.issue(code{page: s, host: host, state: state}, codeLifetime)
		redirect(w, origin+authPath+"?"+url.Values{"code": {c}, "state": {state}}.Encode())
	}
}

// arrive begins the session of a browser at an app's name, and sends it to where
// it wanted to go. Somebody else's code is worth nothing: the state is that of
// the browser that has left from here.
func (p *Portal) arrive(w http.ResponseWriter, r *http.Request, at place) {
	if r.Method != http.MethodGet {
		p.Message(w, r, http.StatusMethodNotAllowed, "Not like this", "Only GET is allowed here.")
		return
	}
	state := r.FormValue("state")
	c, ok := p.codes.take(r.FormValue("code"))
	uri, mine := p.from(state, at.host, p.cookie(r, cookieBrowser))
	if !ok || !mine || c.host != at.host || c.state != state || !c.page.valid() || !c.page.from(r) {
		p.log.Info("sign-in refused", "remote", r.RemoteAddr, "host", at.host, "err", "code or state are not valid")
		p.Message(w, r, http.StatusForbidden, "That took too long", "Open https://"+at.host+at.port+"/ again. Cookies must be allowed.")
		return
	}
	s := p.sessions.derive(c.page, at.host)
	p.setCookie(w, cookieSession, s.secret, 0)
	redirect(w, "https://"+at.host+at.port+uri)
}

// state is what an app's name has to know when a browser comes back, which
// carries it: where it wanted to go, until when, and a proof that this is ours.
func (p *Portal) state(host, browser, uri string, ends time.Time) string {
	if len(uri) > stateMost || !strings.HasPrefix(uri, "/") {
		uri = "/"
	}
	b := append(binary.BigEndian.AppendUint64(nil, uint64(ends.Unix())), uri...)
	return base64.RawURLEncoding.EncodeToString(append(p.proof(host, browser, b), b...))
}

// from returns what a state holds, and whether it is one for this browser.
func (p *Portal) from(state, host, browser string) (uri string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(state)
	if err != nil || len(b) < sha256.Size+9 || browser == "" {
		return "", false
	}
	proof, b := b[:sha256.Size], b[sha256.Size:]
	ends := time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	return string(b[8:]), hmac.Equal(proof, p.proof(host, browser, b)) && time.Now().Before(ends)
}

func (p *Portal) proof(host, browser string, b []byte) []byte {
	mac := hmac.New(sha256.New, p.key)
	for _, part := range []string{host, browser, string(b)} {
		binary.Write(mac, binary.BigEndian, uint32(len(part)))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)
}
