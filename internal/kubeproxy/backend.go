package kubeproxy

import (
	"net"
	"net/http"
	"net/http/httputil"

	"tshx/internal/httproute"
)

// backend forwards the requests of one cluster.
type backend struct {
	Cluster
	proxy    *Proxy
	addr     string // canonical
	upstream *httproute.Upstream
	reverse  http.Handler

	serverName string // of the local listener
}

func newBackend(p *Proxy, c Cluster, addr string) *backend {
	b := &backend{Cluster: c, proxy: p, addr: addr}
	b.upstream = httproute.New(httproute.Options{Route: c.Route, Dialer: p.o.Dialer, Limit: p.dials, Log: p.o.Log})
	host := c.Route.ServerName
	if host == "" {
		host, _, _ = net.SplitHostPort(addr)
	}
	b.reverse = b.upstream.Reverse(httproute.ReverseOptions{
		Rewrite:        func(pr *httputil.ProxyRequest) { pr.Out.Host = host },
		ModifyResponse: warn,
		Failed:         b.failed,
	})
	return b
}

// failed answers a request that did not get an answer.
func (b *backend) failed(w http.ResponseWriter, r *http.Request, err error) {
	if report := b.proxy.o.Report; report != nil {
		report(b.Cluster, err)
	}
	writeStatus(w, r, &answer{httproute.StatusOf(err), b.proxy.o.Explain(err)})
}
