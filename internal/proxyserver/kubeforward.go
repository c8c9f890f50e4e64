package proxyserver

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
)

// kubeBackend is one API server.
type kubeBackend struct {
	Kube
	*httpBackend
}

func (s *Server) newKubeBackend(o Kube) (*kubeBackend, error) {
	u, err := url.Parse(o.Server)
	if err != nil {
		return nil, err
	}
	if o.Server == "" {
		u.Scheme = "http" // an agent serves it, and does TLS where that is wanted
	} else if u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%q is no URL of a server", o.Server)
	}
	return &kubeBackend{Kube: o, httpBackend: s.newHTTPBackend(kindKube, o.Name, u, o.TLS)}, nil
}

// forward is the way of one request, to an escaped path, made as the user of as.
func (b *kubeBackend) forward(r *http.Request, path string, as http.Header) *forward {
	f := &forward{httpBackend: b.httpBackend, client: r}
	f.prepare = func(out *http.Request) error {
		u, err := b.at(path, r.URL.RawQuery)
		if err != nil {
			return &kubeError{http.StatusBadRequest, err}
		}
		out.URL, out.Host = u, u.Host
		maps.Copy(out.Header, as)
		out.Header.Del("Authorization")
		if b.Token != "" {
			out.Header.Set("Authorization", "Bearer "+b.Token)
		}
		return nil
	}
	f.refuse = func(w http.ResponseWriter, err error) {
		writeStatus(w, fmt.Errorf("kubernetes cluster %q: %w", b.Name, err))
	}
	return f
}
