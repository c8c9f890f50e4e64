package proxyserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"tshx/internal/identity"
	"tshx/internal/tlsroute"
	"tshx/internal/webportal"
)

// app returns the app that a certificate opens.
func (s *Server) app(id identity.Identity) (App, *url.URL, error) {
	if !id.App.Present() {
		return App{}, nil, errors.New("the client certificate opens no app")
	}
	for _, a := range s.opts.Apps {
		if a.Name == id.App.Name && id.App.Cluster == s.opts.Authority.Cluster {
			u, err := url.Parse(a.URI)
			return a, u, err
		}
	}
	return App{}, nil, fmt.Errorf("%q in cluster %q: %w", id.App.Name, id.App.Cluster, ErrUnknownApp)
}

// serveTCPApp carries the raw bytes of a TCP app. A real agent takes the requests
// of an HTTP app by this route, too, where this one closes it.
func (s *Server) serveTCPApp(ctx context.Context, c net.Conn, info tlsroute.Info) {
	a, u, err := s.app(info.Identity)
	if err == nil && u.Scheme != "tcp" {
		err = fmt.Errorf("app %q is no tcp app", a.Name)
	}
	if err != nil {
		c.Close()
		s.refused(tlsroute.ALPNTCP, info.Client, err)
		return
	}
	st, err := s.pipe(ctx, c, resource{Kind: kindApp, Name: a.Name, Addr: u.Host, Client: info.Client})
	s.finished("app "+a.Name, info.Client, st, err)
}

// serveHTTPApp answers the requests of a client with an app certificate. They go
// to a TCP app as well, which may speak HTTP: as with real proxies, only the agent
// knows which of the two it is, and hands on what comes.
func (s *Server) serveHTTPApp(w http.ResponseWriter, r *http.Request, id identity.Identity) {
	a, _, err := s.app(id)
	switch {
	case err != nil:
		s.refused("app", clientAddr(r.Context()), err)
		writeError(w, http.StatusForbidden, err.Error())
		return
	case a.AWS != nil:
		s.serveAWS(w, r, id, a)
		return
	}
	s.forwardApp(w, r, s.apps[a.Name])
}

// makeApps sets up the ways of HTTP to the apps.
func (s *Server) makeApps() error {
	s.apps = make(map[string]*httpBackend)
	for _, a := range s.opts.Apps {
		u, err := url.Parse(a.URI)
		if err != nil {
			return fmt.Errorf("app %q: %w", a.Name, err)
		}
		if a.AWS != nil {
			continue
		}
		if u.Scheme == "tcp" {
			u.Scheme = "http"
		}
		s.apps[a.Name] = s.newHTTPBackend(kindApp, a.Name, u, nil)
	}
	return nil
}

// forwardApp sends a request to an app. It stays as it is, but for what says
// where it comes from.
func (s *Server) forwardApp(w http.ResponseWriter, r *http.Request, b *httpBackend) {
	f := &forward{httpBackend: b, client: r, answer: webportal.HideSetCookies}
	f.prepare = func(out *http.Request) error {
		u, err := b.at(r.URL.EscapedPath(), r.URL.RawQuery)
		out.URL = u // and the host as the client has it
		return err
	}
	f.refuse = func(w http.ResponseWriter, err error) {
		status := http.StatusBadGateway
		if timedOut(err) {
			status = http.StatusGatewayTimeout
		}
		s.portal.Message(w, r, status, fmt.Sprintf("The app %q does not answer", b.to.Name), err.Error()+". Look whether it runs.")
	}
	f.serve(w)
}
