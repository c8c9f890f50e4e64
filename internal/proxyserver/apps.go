package proxyserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"

	"tshx/internal/identity"
	"tshx/internal/tlsroute"
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

// serveTCPApp carries the raw bytes of a TCP app.
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

// serveHTTPApp answers the requests of a client with an app certificate.
func (s *Server) serveHTTPApp(w http.ResponseWriter, r *http.Request, id identity.Identity) {
	a, u, err := s.app(id)
	switch {
	case err != nil:
		s.refused("app", clientAddr(r.Context()), err)
		writeError(w, http.StatusForbidden, err.Error())
		return
	case u.Scheme != "http" && u.Scheme != "https":
		writeError(w, http.StatusBadRequest, fmt.Sprintf("app %q does not speak http", a.Name))
		return
	}
	p := &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(u)
			pr.Out.Host = pr.In.Host
			pr.SetXForwarded()
		},
		Transport: s.appTransport,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			s.refused("app "+a.Name, clientAddr(r.Context()), err)
			writeError(w, http.StatusBadGateway, fmt.Sprintf("app %q: %v", a.Name, err))
		},
	}
	p.ServeHTTP(w, r)
}
