// Package webportal is what browsers see of the proxy: a page of what its user
// may reach, signing in and out, and the apps, each by a name of its own.
//
//	p := webportal.New(webportal.Options{Host: host, Apps: apps, ServeApp: forward, ...})
//	defer p.Close()
//	http.Serve(ln, p.Handler(api))
//	link := "https://" + addr + p.Link(webportal.Login{Identity: id, Ends: ends})
//
// A user signs in with a certificate or by a link that works once, and is then
// known by a cookie. The name of an app has a cookie of its own, which it gets
// by a code from the page's name; no app sees either cookie. Sessions are in
// memory and end with the Portal.
//
// It decides who somebody is, not what they may do: that is up to Options.
package webportal

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tshx/internal/identity"
)

// How long things are valid.
const (
	SessionLifetime = 12 * time.Hour   // at most; a certificate may end before
	LinkLifetime    = 10 * time.Minute // time enough to open it
	codeLifetime    = time.Minute      // a redirect
	stateLifetime   = 10 * time.Minute // time enough to sign in on the way to an app
)

// Options configure a Portal. All but Log are needed.
type Options struct {
	// Addr returns the host:port of the page. Browsers may know it by another port,
	// but not by another host.
	Addr    func() string
	Cluster string
	// Apps are those that have a name for browsers.
	Apps []App
	// ServeApp answers a request for one of Apps. The Portal's own cookies are gone
	// from it, and its context ends with the session.
	ServeApp func(w http.ResponseWriter, r *http.Request, app string)
	// Resources returns what a user may reach.
	Resources func(identity.Identity) []Section
	// Log gets a line for each sign-in and refusal. Nil drops them.
	Log *slog.Logger
}

// App is an app by its public address.
type App struct {
	Name string
	Host string // without a port
	// Instead, if not empty, is a line that reaches the app, which is not for
	// browsers.
	Instead string
}

// Login is who signs in, and until when.
type Login struct {
	Identity identity.Identity
	Ends     time.Time // zero: after SessionLifetime
}

// Portal is made by New. It is safe for concurrent use.
type Portal struct {
	opts     Options
	log      *slog.Logger
	apps     map[string]App // by host
	mux      *http.ServeMux
	own      http.Handler // mux, for requests of its own pages
	sessions *sessions
	links    *tickets[Login]
	codes    *tickets[code]
	key      []byte // of states
	close    context.CancelFunc
}

// New returns a Portal that is ready to serve.
func New(o Options) *Portal {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Portal{
		opts: o, log: o.Log, apps: make(map[string]App), close: cancel,
		sessions: newSessions(ctx), links: newTickets[Login](), codes: newTickets[code](),
		key: []byte(rand.Text() + rand.Text()),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	for _, a := range o.Apps {
		a.Host = canonical(a.Host)
		p.apps[a.Host] = a
	}
	p.mux = http.NewServeMux()
	p.mux.HandleFunc("GET /{$}", p.servePage)
	p.mux.HandleFunc("GET /web/login", p.serveLogin)
	p.mux.HandleFunc("POST /web/login", p.signInByCertificate)
	p.mux.HandleFunc("GET /web/link/{token}", p.serveLink)
	p.mux.HandleFunc("POST /web/link/{token}", p.signInByLink)
	p.mux.HandleFunc("POST "+LinksPath, p.makeLink)
	p.mux.HandleFunc("POST /web/logout", p.logOut)
	p.mux.HandleFunc("GET /web/app/{name}", p.toApp)
	// Other origins, of which the apps are some, have nothing to do here: their
	// requests might carry the cookie (RFC 6265bis knows sites, not origins) or the
	// certificate.
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.Message(w, r, http.StatusForbidden, "Not from here", "This request comes from a page of another origin.")
	}))
	p.own = guard.Handler(p.mux)
	return p
}

// Close ends all sessions.
func (p *Portal) Close() { p.close() }

// Link returns the path of a link that signs in once, within LinkLifetime.
func (p *Portal) Link(l Login) string { return "/web/link/" + p.links.issue(l, LinkLifetime) }

// Handler answers what browsers ask for, and has next answer the rest.
func (p *Portal) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := p.place(r)
		app, isApp := p.apps[at.host]
		_, pattern := p.mux.Handler(r)
		switch {
		case isApp && app.Instead != "":
			p.Message(w, r, http.StatusNotFound, app.Name+" is not for browsers", "In a terminal: "+app.Instead)
		case isApp:
			p.serveAppHost(w, r, at, app)
		case strings.HasSuffix(at.host, "."+p.host()) && !strings.HasPrefix(r.URL.Path, "/webapi/"):
			p.Message(w, r, http.StatusNotFound, "No such app", "There is none at "+at.host+".")
		case pattern == "":
			next.ServeHTTP(w, r)
		case at.host != p.host() && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			redirect(w, p.origin(at)+r.URL.RequestURI()) // cookies are for one name
		case at.host != p.host():
			p.Message(w, r, http.StatusMisdirectedRequest, "Wrong name", "This is only done at "+p.origin(at)+".")
		default:
			p.own.ServeHTTP(w, r)
		}
	})
}

// place is by what name and port a request has reached us, which through a
// balancer is not where we listen.
type place struct {
	host string // canonical
	port string // ":port", or empty
}

func (p *Portal) place(r *http.Request) place {
	name := r.Host
	if name == "" && r.TLS != nil {
		name = r.TLS.ServerName
	}
	host, port, err := net.SplitHostPort(name)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 443 {
		if err != nil {
			host = name
		}
		return place{host: canonical(host)}
	}
	return place{host: canonical(host), port: ":" + port}
}

// canonical is the form of a host name to compare by.
func canonical(host string) string {
	return strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
}

// host is the name of the page.
func (p *Portal) host() string {
	host, _, _ := net.SplitHostPort(p.opts.Addr())
	return canonical(cmp.Or(host, p.opts.Addr()))
}

// origin is that of the page, for somebody who has come to a place.
func (p *Portal) origin(at place) string { return "https://" + bracketed(p.host()) + at.port }

func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// redirect sends a browser to a URL of ours, by GET.
func redirect(w http.ResponseWriter, location string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // addresses hold codes
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}
