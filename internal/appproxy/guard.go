package appproxy

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guard keeps pages of other sites from reaching the application by the user's
// browser: there is no password on the port, and what arrives acts as the user.
type guard struct {
	name      string          // of the application
	hosts     map[string]bool // that may be named besides those of this machine
	crossSite bool
}

func newGuard(o Options) guard {
	g := guard{name: o.Name, hosts: map[string]bool{}, crossSite: o.CrossSite}
	for _, addr := range append([]string{o.PublicAddr}, o.Hosts...) {
		if host := hostOf(addr); host != "" {
			g.hosts[host] = true
		}
	}
	return g
}

// judge returns nil for a request that may pass.
func (g *guard) judge(r *http.Request) *answer {
	switch {
	case r.Method == http.MethodConnect:
		return g.refuse(http.StatusMethodNotAllowed, "this port is an application, and no forward proxy", "")
	case onSocket(r): // no page gets there, and clients make a host up
		return nil
	case !g.names(hostOf(r.Host)):
		return g.refuse(http.StatusMisdirectedRequest, "the host "+hostOf(r.Host)+" is not known to be this machine",
			"use localhost or 127.0.0.1, or start tshx with --allow-host="+hostOf(r.Host))
	case !g.crossSite && foreign(r, g.hosts):
		return g.refuse(http.StatusForbidden, "a page of another site or port made this request",
			"start tshx with --allow-cross-site if that is meant")
	}
	return nil
}

func (g *guard) refuse(code int, message, hint string) *answer {
	return &answer{code: code, name: g.name, Advice: Advice{Message: message, Hint: hint}}
}

func onSocket(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix"
}

// names reports whether a host is known to be this one. Anybody can have a name
// that leads to a loopback address, so that pages from there are of the same site
// as the application in the eyes of a browser (DNS rebinding); but not one of
// these.
func (g *guard) names(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || g.hosts[host]
}

// foreign reports whether a request was made by a page from elsewhere, and is not
// just the user following a link. Browsers say so in Sec-Fetch-Site
// (w3.org/TR/fetch-metadata); old ones name the page's origin where it matters.
// Another port is elsewhere, which browsers take for the same site: what is there
// can be another application, or another user's.
func foreign(r *http.Request, known map[string]bool) bool {
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	origin := r.Header.Get("Origin")
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
		return origin != "" && (!safe || r.Header.Get("Upgrade") != "") && !own(origin, r.Host, known)
	case "same-site":
		if own(origin, r.Host, known) {
			return false
		}
	}
	followed := safe && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return !followed
}

// own reports whether an origin is the application's, as the client knows it, or
// one that is known.
func own(origin, host string, known map[string]bool) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" { // "null" among others
		return false
	}
	return strings.EqualFold(u.Host, host) || known[hostOf(u.Host)]
}

// IsHost reports whether text, a host or host:port, can be what clients name.
func IsHost(text string) bool {
	if _, port, err := net.SplitHostPort(text); err == nil && strings.Trim(port, "0123456789") != "" {
		return false
	}
	host := hostOf(text)
	_, err := netip.ParseAddr(host)
	return err == nil || host != "" && !strings.ContainsFunc(host, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`*:/\@?#%[]`, c)
	})
}

// hostOf returns the host of a host or host:port in its one form.
func hostOf(addr string) string {
	host := addr
	if h, _, err := net.SplitHostPort(addr); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.TrimSuffix(strings.ToLower(host), ".")
}
