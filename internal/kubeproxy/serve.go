package kubeproxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tshx/internal/tlsroute"
)

// serveHTTP routes a request to its cluster.
func (p *Proxy) serveHTTP(w http.ResponseWriter, r *http.Request) {
	b, rest, bad := p.route(r)
	if bad != nil {
		writeStatus(w, r, bad)
		return
	}
	path, err := url.PathUnescape(rest)
	if err != nil {
		writeStatus(w, r, &answer{http.StatusBadRequest, err.Error()})
		return
	}
	inner, u := *r, *r.URL
	u.Path, u.RawPath = path, rest
	inner.URL = &u
	b.reverse.ServeHTTP(w, &inner)
}

// route returns where a request goes, and the path that it has there.
func (p *Proxy) route(r *http.Request) (b *backend, rest string, bad *answer) {
	path := r.URL.EscapedPath()
	if !strings.HasPrefix(path, tlsroute.KubePath) && strings.HasPrefix(path, "/") {
		for _, b := range p.backends {
			if r.TLS.ServerName == b.serverName {
				return b, path, nil
			}
		}
	}
	teleport, kube, rest, err := tlsroute.ParseKubePath(path)
	if err != nil {
		return nil, "", &answer{http.StatusBadRequest, err.Error()}
	}
	if b = p.find(teleport, kube); b == nil {
		text := fmt.Sprintf("kube cluster %q of %q is not served here; %s", kube, teleport, p.served())
		return nil, "", &answer{http.StatusNotFound, text}
	}
	return b, rest, nil
}

// served lists the clusters, but not without end.
func (p *Proxy) served() string {
	const most = 8
	var names []string
	for _, b := range p.backends[:min(most, len(p.backends))] {
		names = append(names, fmt.Sprintf("%q", b.Name))
	}
	s := "there is " + strings.Join(names, ", ")
	if more := len(p.backends) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}
