package proxyserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	"tshx/internal/accept"
	"tshx/internal/conn"
	"tshx/internal/identity"
	"tshx/internal/tlsroute"
)

// Kube is the API server of a Kubernetes cluster. Requests reach it as the user
// and groups that the client's certificate names, by impersonation: what the
// proxy itself logs in with must have that right.
type Kube struct {
	Name   string
	Server string // its URL: https://host:port, http:// or with a path; empty: an agent serves it
	// TLS verifies the server and may log in with a certificate. Nil: the
	// system's authorities, and none.
	TLS   *tls.Config
	Token string // bearer token to log in with; may be empty
}

// ErrUnknownKube refuses a Kubernetes cluster that Options does not list.
var ErrUnknownKube = errors.New("no such kubernetes cluster")

// kubeFront is the web server of the Kubernetes route.
type kubeFront struct {
	server   *Server
	backends map[string]*kubeBackend
	queue    *accept.Queue
	http     *http.Server
}

// makeKube sets up the Kubernetes route, if there is to be one.
func (s *Server) makeKube() error {
	if len(s.opts.Kubes) == 0 {
		return nil
	}
	if s.opts.KubeAddr != "" {
		return errors.New("proxy server needs either Kubes or KubeAddr")
	}
	k := &kubeFront{server: s, backends: make(map[string]*kubeBackend), queue: accept.NewQueue(&net.TCPAddr{})}
	for _, o := range s.opts.Kubes {
		b, err := s.newKubeBackend(o)
		if err != nil {
			return fmt.Errorf("kube cluster %q: %w", o.Name, err)
		}
		k.backends[o.Name] = b
	}
	k.http = &http.Server{
		Handler:           k,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return withClient(ctx, c)
		},
	}
	s.kube = k
	s.done.Go(func() { k.http.Serve(k.queue) })
	return nil
}

// handler is the route. It shows the host certificate in any case, wants a
// user's, and speaks HTTP/1.1 alone.
func (k *kubeFront) handler() *tlsroute.Handler {
	cfg := k.server.clientTLS.Clone()
	cfg.NextProtos = []string{tlsroute.ALPNHTTP1}
	return &tlsroute.Handler{TLS: cfg, Serve: func(ctx context.Context, c net.Conn, _ tlsroute.Info) {
		if t, ok := c.(*conn.TLS); ok {
			c = t.Conn
		}
		k.queue.Put(ctx, c)
	}}
}

func (k *kubeFront) close() {
	k.queue.Close()
	k.http.Close()
	for _, b := range k.backends {
		b.close()
	}
}

// ServeHTTP sends a request to its cluster, as whom the certificate allows.
func (k *kubeFront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := identity.FromName(r.TLS.PeerCertificates[0].Subject)
	b, path, err := k.route(id, r.URL.EscapedPath())
	var as http.Header
	if err == nil {
		as, err = impersonate(id, r.Header)
	}
	if err != nil {
		k.server.refused("kube", clientAddr(r.Context()), err)
		writeStatus(w, err)
		return
	}
	b.forward(r, path, as).serve(w)
}

// route returns where a request goes and the escaped path that it has there. The
// certificate names the cluster, or else the path does.
func (k *kubeFront) route(id identity.Identity, path string) (*kubeBackend, string, error) {
	own := k.server.opts.Authority.Cluster
	teleport, name := id.RouteToCluster, id.KubeCluster
	if strings.HasPrefix(path, tlsroute.KubePath) {
		var err error
		if teleport, name, path, err = tlsroute.ParseKubePath(path); err != nil {
			return nil, "", &kubeError{http.StatusBadRequest, err}
		}
	}
	b := k.backends[name]
	switch {
	case len(id.Usage) > 0 && !slices.Contains(id.Usage, identity.UsageKube):
		return nil, "", forbidden("the client certificate is for %s, not for Kubernetes", strings.Join(id.Usage, ", "))
	case len(id.KubeUsers)+len(id.KubeGroups) == 0:
		return nil, "", forbidden("the certificate of %q names no kubernetes users and no groups", id.User)
	case id.KubeCluster != "" && id.KubeCluster != name:
		return nil, "", forbidden("the client certificate opens the kubernetes cluster %q, not %q", id.KubeCluster, name)
	case !strings.HasPrefix(path, "/"):
		return nil, "", &kubeError{http.StatusBadRequest, fmt.Errorf("no path: %q", path)}
	case name == "":
		return nil, "", &kubeError{http.StatusBadRequest, errors.New("neither the certificate nor the path names a kubernetes cluster")}
	case b == nil || teleport != "" && teleport != own:
		return nil, "", &kubeError{http.StatusNotFound, fmt.Errorf("%q in cluster %q: %w", name, teleport, ErrUnknownKube)}
	}
	return b, path, nil
}
