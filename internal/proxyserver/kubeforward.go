package proxyserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"

	"tshx/internal/tlsroute"
)

// kubeIdle is how many connections to one API server are kept.
const kubeIdle = 32

// kubeBackend is one API server.
type kubeBackend struct {
	Kube
	url *url.URL
	tls *tls.Config
	// reads keeps its connections. One that has ended is found out by the request
	// that uses it, which net/http then makes anew. writes are for requests that
	// nobody may make twice: each has a connection of its own.
	reads, writes *http.Transport
}

func newKubeBackend(o Kube) (*kubeBackend, error) {
	u, err := url.Parse(o.Server)
	if err != nil {
		return nil, err
	}
	if u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%q is no URL of a server", o.Server)
	}
	cfg := &tls.Config{}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
	}
	cfg.NextProtos = []string{tlsroute.ALPNHTTP1}
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	b := &kubeBackend{Kube: o, url: u, tls: cfg}
	b.reads = &http.Transport{
		DialContext:    b.dial,
		DialTLSContext: b.dial,
		Protocols:      new(http.Protocols), DisableCompression: true,
		MaxIdleConnsPerHost: kubeIdle, IdleConnTimeout: idleTimeout,
	}
	b.reads.Protocols.SetHTTP1(true)
	b.writes = b.reads.Clone()
	b.writes.DisableKeepAlives = true
	return b, nil
}

func (b *kubeBackend) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	port := map[string]string{"https": "443", "http": "80"}[b.url.Scheme]
	addr := net.JoinHostPort(b.url.Hostname(), cmp.Or(b.url.Port(), port))
	d := net.Dialer{Timeout: dialTimeout}
	if b.url.Scheme == "http" {
		return d.DialContext(ctx, "tcp", addr)
	}
	td := tls.Dialer{NetDialer: &d, Config: b.tls}
	return td.DialContext(ctx, "tcp", addr)
}

// kubeForward is the way of one request.
type kubeForward struct {
	*kubeBackend
	server *Server
	path   string      // escaped
	as     http.Header // who it is made as
}

// prepare makes a request one to the API server. Its hop-by-hop headers have to
// be gone: a client may have named those as such that are set here.
func (f *kubeForward) prepare(out *http.Request, query string) error {
	u, err := f.kubeURL(f.path, query)
	if err != nil {
		return &kubeError{http.StatusBadRequest, err}
	}
	out.URL, out.Host = u, u.Host
	maps.Copy(out.Header, f.as)
	out.Header.Del("Authorization")
	if f.Token != "" {
		out.Header.Set("Authorization", "Bearer "+f.Token)
	}
	return nil
}

func (f *kubeForward) reverse() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: f, FlushInterval: -1, ErrorLog: f.server.http.ErrorLog,
		Rewrite:      func(pr *httputil.ProxyRequest) { pr.Out.URL.RawQuery = pr.In.URL.RawQuery },
		ErrorHandler: f.failed,
	}
}

// RoundTrip implements http.RoundTripper, for requests that it may change.
func (f *kubeForward) RoundTrip(out *http.Request) (*http.Response, error) {
	if err := f.prepare(out, out.URL.RawQuery); err != nil {
		return nil, err
	}
	if out.Body == nil && (out.Method == http.MethodGet || out.Method == http.MethodHead) {
		return f.reads.RoundTrip(out)
	}
	return f.writes.RoundTrip(out)
}

func (f *kubeForward) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil { // the client has gone, or is cut
		panic(http.ErrAbortHandler)
	}
	err = fmt.Errorf("kubernetes cluster %q: %w", f.Name, err)
	f.server.refused("kube "+f.Name, clientAddr(r.Context()), err)
	writeStatus(w, err)
}
