package kubeproxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"tshx/internal/tlsroute"
)

// serveHTTP routes a request to its cluster.
func (p *Proxy) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.begin() {
		panic(http.ErrAbortHandler)
	}
	defer p.wg.Done()
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
	// Otherwise the rest of a body is lost once the answer begins.
	http.NewResponseController(w).EnableFullDuplex()
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

// newReverse makes what forwards the requests of b.
func newReverse(b *backend) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: b, FlushInterval: -1, BufferPool: &copyBuffers, ErrorLog: b.proxy.errorLog(),
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.Host = "https", b.host, b.host
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it was, also where odd
		},
		ModifyResponse: modify,
		ErrorHandler:   b.failed,
	}
}

// modify takes over a connection that has changed its protocol, and has kubectl
// show why the other side refused what it asked about the API.
func modify(res *http.Response) error {
	if s, ok := res.Body.(*switched); ok {
		res.Body = http.NoBody // it is not to be closed
		return &switchedError{res, s.upstream}
	}
	return warn(res)
}

// failed answers a request that did not get an answer, or joins the connections
// of one that changed the protocol.
func (b *backend) failed(w http.ResponseWriter, r *http.Request, err error) {
	var done *switchedError
	if errors.As(err, &done) {
		b.join(w, r, done)
		return
	}
	if r.Context().Err() != nil { // the client has gone, or is cut
		panic(http.ErrAbortHandler)
	}
	code := codeOf(err)
	b.proxy.o.Log.Debug("kube request failed", "route", b.Route.Name, "code", code, "err", err)
	if report := b.proxy.o.Report; report != nil {
		report(b.Cluster, err)
	}
	writeStatus(w, r, &answer{code, b.proxy.o.Explain(err)})
}

// copyBuffers are held by each watch for as long as it lasts, as is HTTP/2's own
// copy of what is written at once. Larger ones would make copying a little cheaper.
var copyBuffers = bufferPool{sync.Pool{New: func() any { return new([8 << 10]byte) }}}

type bufferPool struct{ sync.Pool }

func (p *bufferPool) Get() []byte  { return p.Pool.Get().(*[8 << 10]byte)[:] }
func (p *bufferPool) Put(b []byte) { p.Pool.Put((*[8 << 10]byte)(b)) }
