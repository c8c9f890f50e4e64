// Package kubeproxy lets Kubernetes clients reach clusters behind the access
// proxy, any number of them through one local port.
//
//	p, err := kubeproxy.New(kubeproxy.Options{Clusters: clusters, Dialer: dialer})
//	defer p.Close()
//	access, server, name := p.Access(), p.URL(0), p.ServerName(0) // for a kubeconfig
//	err = (&localproxy.Server{Handler: p}).Serve(ctx, ln)
//
// The port is a forward proxy (proxy-url in a kubeconfig) that takes CONNECT to
// the addresses of its clusters only. Inside of that is TLS, which ends here and
// demands the client certificate made for this run, and then HTTP, of which the
// path names the cluster (docs/protocol.md, "Kubernetes"), or else the name that
// TLS was asked for. Requests go on over connections of tlsroute, as HTTP/1.1.
//
// It knows nothing of kubeconfigs, logins and Kubernetes objects, but for the
// Status by which it tells a client what went wrong.
package kubeproxy

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"tshx/internal/httproute"
	"tshx/internal/httpserve"
	"tshx/internal/localproxy"
	"tshx/internal/tlsroute"
)

// Proxy is a localproxy.Handler. New starts it, Close ends it.
type Proxy struct {
	o        Options
	access   Access
	backends []*backend
	addrs    map[string]bool   // canonical
	server   *httpserve.Server // of connections behind their CONNECT
	dials    httproute.Limit   // of all clusters together
	serial   atomic.Int64
}

// New makes the certificates of a run and starts the inner server, which as yet
// gets no connections. The caller closes the Proxy.
func New(o Options) (*Proxy, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Explain == nil {
		o.Explain = error.Error
	}
	p := &Proxy{o: o, addrs: map[string]bool{}, dials: httproute.NewLimit(o.Dials)}
	for _, c := range o.Clusters {
		if err := p.add(c); err != nil {
			return nil, err
		}
	}
	var hosts []string
	for addr := range p.addrs {
		host, _, _ := net.SplitHostPort(addr)
		hosts = append(hosts, host)
	}
	access, cfg, err := newAccess(o.Now(), hosts)
	if err != nil {
		return nil, err
	}
	p.access = access
	p.server = httpserve.New(httpserve.Options{
		Handler: http.HandlerFunc(p.serveHTTP), TLS: cfg, HeadTimeout: localproxy.HelloTimeout, Log: o.Log,
	})
	return p, nil
}

func (p *Proxy) add(c Cluster) error {
	addr, err := localproxy.Canonical(c.Addr)
	if err != nil {
		return fmt.Errorf("address of kube cluster %q: %w", c.Name, err)
	}
	if c.Teleport == "" || c.Name == "" {
		return errors.New("a kube cluster without a name")
	}
	if p.find(c.Teleport, c.Name) != nil {
		return fmt.Errorf("kube cluster %q of %q twice", c.Name, c.Teleport)
	}
	p.addrs[addr] = true
	b := newBackend(p, c, addr)
	b.serverName = fmt.Sprintf("c%d.%s", len(p.backends), serverDomain)
	p.backends = append(p.backends, b)
	return nil
}

// find returns nil for a cluster that is not served.
func (p *Proxy) find(teleport, name string) *backend {
	for _, b := range p.backends {
		if b.Teleport == teleport && b.Name == name {
			return b
		}
	}
	return nil
}

// Access is what clients need to be let in.
func (p *Proxy) Access() Access { return p.access }

// URL is the server's URL of the cluster with this index in Options.Clusters.
func (p *Proxy) URL(i int) string {
	b := p.backends[i]
	return "https://" + strings.TrimSuffix(b.addr, ":443") + tlsroute.KubePathOf(b.Teleport, b.Name)
}

// ServerName is the name that goes with it, for tls-server-name: the address is
// that of the real proxy.
//
// It tells the clusters apart, too, where a request has no prefix, as those of
// kubectl get --raw and those that follow a redirection.
func (p *Proxy) ServerName(i int) string { return p.backends[i].serverName }

// Drain closes the connections that carry no request, and others behind the
// requests that they carry: otherwise clients keep them, and a drain would wait
// for its whole time. New connections are closed. It returns at once.
func (p *Proxy) Drain() { p.server.Drain() }

// Close cuts all connections and returns when nothing goes on any more. Those of
// ServeConn end then, too.
func (p *Proxy) Close() error {
	p.server.Close()
	for _, b := range p.backends {
		b.upstream.Close()
	}
	return nil
}
