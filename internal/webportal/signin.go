package webportal

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"tshx/internal/identity"
)

// current returns the session of a request at the page; nil if there is none.
func (p *Portal) current(r *http.Request) *session {
	return p.sessions.find(r, p.cookieName(cookieSession), p.host())
}

// certified returns who a request's certificate, which crypto/tls has verified,
// speaks for. One that opens a single resource is for nothing else.
func certified(r *http.Request) (Login, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return Login{}, errors.New("there is no client certificate")
	}
	cert := r.TLS.PeerCertificates[0]
	id, err := identity.FromCertificate(cert)
	switch {
	case err != nil:
		return Login{}, err
	case len(id.Usage) > 0 || id.App.Present() || id.Database.Present():
		return Login{}, errors.New("the client certificate is for one resource only")
	}
	return Login{Identity: id, Ends: cert.NotAfter}, nil
}

// serveLogin shows how to sign in. It keeps in mind where somebody wanted to go.
func (p *Portal) serveLogin(w http.ResponseWriter, r *http.Request) {
	if app := r.FormValue("app"); app != "" {
		p.setCookie(w, cookieNext, url.Values{"app": {app}, "state": {r.FormValue("state")}}.Encode(), stateLifetime)
	}
	if p.current(r) != nil {
		redirect(w, "/")
		return
	}
	v := loginView{Cluster: p.opts.Cluster, App: r.FormValue("app"), Out: r.Form.Has("out"), Origin: p.origin(p.place(r))}
	if l, err := certified(r); err == nil {
		v.User = l.Identity.User
	} else if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		v.Problem = err.Error()
	}
	p.render(w, http.StatusOK, "login", "Sign in", v)
}

// signInByCertificate makes a session of a certificate. That takes a click, for
// the certificate alone is in each request, whoever has caused it.
func (p *Portal) signInByCertificate(w http.ResponseWriter, r *http.Request) {
	l, err := certified(r)
	if err != nil {
		p.log.Info("sign-in refused", "remote", r.RemoteAddr, "err", err)
		p.Message(w, r, http.StatusForbidden, "Not signed in", "A certificate of your login is needed: "+err.Error()+".")
		return
	}
	p.signIn(w, r, l)
}

// serveLink asks whether to sign in: what only looks at addresses, as chats do,
// must not use the link up, and nobody is to be signed in as somebody else
// without seeing it.
func (p *Portal) serveLink(w http.ResponseWriter, r *http.Request) {
	l, ok := p.links.look(r.PathValue("token"))
	if !ok {
		p.linkUsed(w, r)
		return
	}
	p.render(w, http.StatusOK, "link", "Sign in", linkView{User: l.Identity.User, Cluster: p.opts.Cluster, Action: r.URL.Path})
}

func (p *Portal) signInByLink(w http.ResponseWriter, r *http.Request) {
	l, ok := p.links.take(r.PathValue("token"))
	if !ok {
		p.linkUsed(w, r)
		return
	}
	p.signIn(w, r, l)
}

func (p *Portal) linkUsed(w http.ResponseWriter, r *http.Request) {
	p.log.Info("sign-in refused", "remote", r.RemoteAddr, "err", "no such link any more")
	p.Message(w, r, http.StatusGone, "This link is used up", "It works once and for "+minutes(LinkLifetime)+". For a new one: tshx-lab link")
}

// LinksPath is where the holder of a certificate gets a link by a POST. The answer
// is JSON with its url.
const LinksPath = "/web/links"

// makeLink answers the holder of a certificate with a link, for a browser that
// has none.
func (p *Portal) makeLink(w http.ResponseWriter, r *http.Request) {
	l, err := certified(r)
	if err != nil {
		p.Message(w, r, http.StatusForbidden, "No link", "A certificate of your login is needed: "+err.Error()+".")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(map[string]string{"url": p.origin(p.place(r)) + p.Link(l)})
}

// signIn begins a session, which takes the place of one that there may be, and
// sends the browser to where it wanted to go.
func (p *Portal) signIn(w http.ResponseWriter, r *http.Request, l Login) {
	if old := p.current(r); old != nil {
		old.end()
	}
	s := p.sessions.begin(l, p.host())
	p.log.Info("signed in", "user", s.id.User, "remote", r.RemoteAddr)
	p.setCookie(w, cookieSession, s.secret, 0)
	next, err := url.ParseQuery(p.cookie(r, cookieNext))
	app := next.Get("app")
	if err != nil || app == "" {
		redirect(w, "/")
		return
	}
	p.setCookie(w, cookieNext, "", -1)
	// A redirect would count as one of the form, which may lead nowhere else.
	to := "/web/app/" + url.PathEscape(app) + "?" + url.Values{"state": {next.Get("state")}}.Encode()
	w.Header().Set("Refresh", "0; url="+to)
	p.render(w, http.StatusOK, "onward", "Signed in", onwardView{App: app, URL: to})
}

func (p *Portal) logOut(w http.ResponseWriter, r *http.Request) {
	if s := p.current(r); s != nil {
		s.end()
		p.log.Info("signed out", "user", s.id.User, "remote", r.RemoteAddr)
	}
	p.setCookie(w, cookieSession, "", -1)
	redirect(w, "/web/login?out")
}

// wantsPage reports whether a request is one of a browser that goes somewhere,
// and not one of a script or a picture in a page.
func wantsPage(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return takesHTML(r)
}

// takesHTML reports whether a client asks for HTML by name.
func takesHTML(r *http.Request) bool {
	return strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Accept"), ",")), "text/html")
}
