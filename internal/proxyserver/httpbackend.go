package proxyserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"tshx/internal/tlsroute"
)

const (
	// backendIdle is how many connections to one backend are kept.
	backendIdle = 32
	// continueTimeout is how long a backend may think about whether it wants a body
	// that the client has announced (RFC 9110, section 10.1.1).
	continueTimeout = time.Second
	// lastWord bounds how long a write that failed waits for what the backend said
	// before it hung up: mostly that has arrived already, and a busy machine has yet
	// to read it. The end of reading ends the wait.
	lastWord = 2 * time.Second
)

// httpBackend is a server behind the proxy that speaks HTTP/1.1.
type httpBackend struct {
	server *Server
	to     resource // without the client
	url    *url.URL // of its root
	tls    *tls.Config
	// reads keeps its connections. One that has ended is found out by the request
	// that uses it, which net/http then makes anew. writes are for requests that
	// nobody may make twice: each has a connection of its own.
	reads, writes *http.Transport
}

// newHTTPBackend returns the server at u. Without a host it is up to Server.dial
// where that is. cfg, which may be nil, is for https.
func (s *Server) newHTTPBackend(kind, name string, u *url.URL, cfg *tls.Config) *httpBackend {
	own := *u
	b := &httpBackend{server: s, to: resource{Kind: kind, Name: name}, url: &own, tls: &tls.Config{}}
	if own.Host != "" {
		port := map[string]string{"https": "443", "http": "80"}[own.Scheme]
		b.to.Addr = net.JoinHostPort(own.Hostname(), cmp.Or(own.Port(), port))
	}
	own.Host = cmp.Or(own.Host, kind) // net/http wants one
	if cfg != nil {
		b.tls = cfg.Clone()
	}
	b.tls.NextProtos = []string{tlsroute.ALPNHTTP1}
	b.tls.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	b.tls.ServerName = cmp.Or(b.tls.ServerName, own.Hostname())
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return b.dial(ctx) }
	b.reads = &http.Transport{
		DialContext:    dial,
		DialTLSContext: dial,
		Protocols:      new(http.Protocols), DisableCompression: true,
		MaxIdleConnsPerHost: backendIdle, IdleConnTimeout: idleTimeout,
		ExpectContinueTimeout: continueTimeout,
	}
	b.reads.Protocols.SetHTTP1(true)
	b.writes = b.reads.Clone()
	b.writes.DisableKeepAlives = true
	last := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := b.dial(ctx)
		if err != nil {
			return nil, err
		}
		return &heard{Conn: c, ended: make(chan struct{})}, nil
	}
	b.writes.DialContext, b.writes.DialTLSContext = last, last
	return b
}

// dial connects to the backend for the client of ctx.
func (b *httpBackend) dial(ctx context.Context) (net.Conn, error) {
	to := b.to
	to.Client = clientAddr(ctx)
	c, err := b.server.dial(ctx, to)
	if err != nil || b.url.Scheme == "http" {
		return c, err
	}
	ctx, cancel := context.WithTimeout(ctx, tlsroute.HandshakeTimeout)
	defer cancel()
	tc := tls.Client(c, b.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return tc, nil
}

// at is the URL of an escaped path and a query at the backend.
func (b *httpBackend) at(path, query string) (*url.URL, error) {
	u := *b.url
	escaped := strings.TrimSuffix(u.EscapedPath(), "/") + path
	plain, err := url.PathUnescape(escaped)
	u.Path, u.RawPath, u.RawQuery = plain, escaped, query
	return &u, err
}

// send makes a request: on a kept connection if it only reads.
func (b *httpBackend) send(out *http.Request) (*http.Response, error) {
	if out.Body == nil && (out.Method == http.MethodGet || out.Method == http.MethodHead) {
		return b.reads.RoundTrip(out)
	}
	return b.writes.RoundTrip(out)
}

func (b *httpBackend) close() { b.reads.CloseIdleConnections() }

// heard is a connection whose failed writes leave time for an answer that came
// before them: of a backend that takes no more of a body and says why.
type heard struct {
	net.Conn
	ended chan struct{} // closed when a read has failed, or nobody reads any more
	once  atomic.Bool
}

func (c *heard) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.end()
	}
	return n, err
}

func (c *heard) Close() error {
	c.end()
	return c.Conn.Close()
}

func (c *heard) end() {
	if !c.once.Swap(true) {
		close(c.ended)
	}
}

func (c *heard) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		select {
		case <-c.ended:
		case <-time.After(lastWord):
		}
	}
	return n, err
}
