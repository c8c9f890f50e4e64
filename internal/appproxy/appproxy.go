// Package appproxy lets ordinary clients reach one application behind the access
// proxy through a local port: browsers and other HTTP clients, and clients of TCP
// applications.
//
//	p := appproxy.New(appproxy.Options{Name: "metrics", Certificate: cert, Dialer: dialer})
//	defer p.Close()
//	err = (&localproxy.Server{Handler: p}).Serve(ctx, ln)
//
// A client that begins with an HTTP/1.x request line is served as one of HTTP
// (look.go): request by request over httproute, with an answer of our own where
// there is none. All others get a tunnel, and those that are silent one that waits
// for who speaks first (meet.go). The certificate does not say what the
// application is, and it need not: by either route its agent takes what comes.
//
// Pages of other sites must not get at the application by the user's browser:
// guard.go.
package appproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"tshx/internal/conn"
	"tshx/internal/httproute"
	"tshx/internal/httpserve"
	"tshx/internal/localproxy"
	"tshx/internal/tlsroute"
)

// Protocol is what clients are taken to speak.
type Protocol string

// Auto looks at what each client says first.
const (
	Auto Protocol = "auto"
	HTTP Protocol = "http"
	TCP  Protocol = "tcp"
)

// HeadTimeout is how long the head of a request may take once it has begun.
const HeadTimeout = 10 * time.Second

// Options configure a Proxy. Name, Certificate and Dialer are needed. The
// functions are called concurrently.
type Options struct {
	Name        string // of the application
	Certificate func() (*tls.Certificate, error)
	Dialer      tlsroute.RouteDialer
	Protocol    Protocol // empty is Auto
	// PublicAddr is the application's own address, a host or host:port. Requests
	// may name it as their host.
	PublicAddr string
	// ProxyAddr is that of the proxy, where it sends those whose session it does
	// not know.
	ProxyAddr string
	// Hosts may be named by requests besides those that can only mean this machine.
	Hosts []string
	// CrossSite lets pages of other sites in.
	CrossSite bool
	// Explain words an error for people. Nil means its own text.
	Explain func(error) Advice
	// Report is told about each connection that failed, and each request that
	// failed for lack of a certificate or of the upstream. Nil does nothing.
	Report func(error)
	// Opened is called for each accepted connection, Closed at its end. Nil does
	// nothing.
	Opened func(localproxy.Connection)
	Closed func(localproxy.Connection, localproxy.End)
	Log    *slog.Logger // nil drops all
}

// Advice is an error in words for people.
type Advice struct {
	Message string // one line: what went wrong
	Hint    string // one line: what to do about it; may be empty
	Command string // to run; may be empty
}

// Route is how to reach the HTTP application of this name.
func Route(name string, cert func() (*tls.Certificate, error)) tlsroute.Route {
	return tlsroute.Route{Name: title(name), ALPN: []string{tlsroute.ALPNHTTP1}, Certificate: cert}
}

// TCPRoute is how to reach the TCP application of this name.
func TCPRoute(name string, cert func() (*tls.Certificate, error)) tlsroute.Route {
	return tlsroute.Route{
		Name: title(name), ALPN: []string{tlsroute.WithPing(tlsroute.ALPNTCP), tlsroute.ALPNTCP}, Certificate: cert,
	}
}

func title(name string) string { return fmt.Sprintf("application %q", name) }

// Proxy is a localproxy.Handler. New starts it, Close ends it.
type Proxy struct {
	o        Options
	upstream *httproute.Upstream
	server   *httpserve.Server
	forward  http.Handler
	guard    guard
	proven   atomic.Pointer[Protocol] // nil until the application has shown it
	serial   atomic.Int64
	patience time.Duration // of looks; zero is lookSilence
}

// New makes a Proxy, which dials nothing yet. The caller closes it.
func New(o Options) *Proxy {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Explain == nil {
		o.Explain = func(err error) Advice { return Advice{Message: err.Error()} }
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	p := &Proxy{o: o, guard: newGuard(o)}
	if o.Protocol == HTTP || o.Protocol == TCP {
		p.proven.Store(&o.Protocol)
	}
	p.upstream = httproute.New(httproute.Options{Route: Route(o.Name, o.Certificate), Dialer: o.Dialer, Log: o.Log})
	p.forward = p.upstream.Reverse(httproute.ReverseOptions{Rewrite: rewrite, ModifyResponse: p.answered, Failed: p.failed})
	p.server = httpserve.New(httpserve.Options{Handler: p, HeadTimeout: HeadTimeout, Log: o.Log})
	return p
}

// Drain closes the connections that carry no request, and other HTTP connections
// behind theirs. It returns at once.
func (p *Proxy) Drain() { p.server.Drain() }

// Close cuts all HTTP connections and returns when nothing of them goes on any
// more. Those of TCP end with the context of their ServeConn.
func (p *Proxy) Close() error {
	p.server.Close()
	return p.upstream.Close()
}

// ServeConn implements localproxy.Handler.
func (p *Proxy) ServeConn(ctx context.Context, c net.Conn) {
	id := localproxy.Connection{ID: p.serial.Add(1), Client: c.RemoteAddr()}
	if p.o.Opened != nil {
		p.o.Opened(id)
	}
	start := time.Now()
	end := p.serve(ctx, c)
	c.Close()
	end.Duration = time.Since(start)
	if p.o.Closed != nil {
		p.o.Closed(id, end)
	}
	p.o.Log.Debug("connection ended", "conn", id.ID, "route", title(p.o.Name), "remote", id.Client.String(),
		"sent", end.Sent, "received", end.Received, "dur", end.Duration, "reason", end.Reason, "err", end.Err)
}

// serve finds out what the client speaks and serves it.
func (p *Proxy) serve(ctx context.Context, c net.Conn) localproxy.End {
	if p.known() == TCP {
		return p.tunnel(ctx, c, nil)
	}
	l := look{patience: p.patience}
	var m *meeting
	stats, err := p.server.Serve(ctx, c, func(ctx context.Context) (_ net.Conn, err error) {
		m, err = p.look(ctx, c, &l)
		return conn.Buffered(c, l.first), err
	})
	switch {
	case errors.Is(err, errNotHTTP):
		return p.tunnel(ctx, conn.Buffered(c, l.first), m)
	case m != nil && m.upstream != nil: // the listener has ended meanwhile
		m.upstream.Close()
	}
	switch {
	case ctx.Err() != nil, errors.Is(err, net.ErrClosed):
		return localproxy.End{Stats: stats, Reason: localproxy.Drain, Err: err}
	case errors.Is(err, conn.ErrClientGone):
		return localproxy.End{Reason: localproxy.ClientGone, Err: err}
	case err != nil:
		p.o.Report(err)
		return localproxy.End{Reason: localproxy.Refused, Err: err}
	}
	return localproxy.End{Stats: stats, Reason: localproxy.EOF}
}

// look reads what a client says first. It returns errNotHTTP for one that is to
// have the tunnel, and the upstream if that is there.
func (p *Proxy) look(ctx context.Context, c net.Conn, l *look) (m *meeting, err error) {
	known := p.known()
	if err := l.at(c, known); err != nil {
		return nil, err
	}
	if l.silent && known != HTTP {
		if m, err = p.meet(ctx, c, l); err != nil {
			return nil, err
		}
	}
	switch {
	case l.http:
	case p.o.Protocol != HTTP:
		return m, errNotHTTP
	case judge(l.first) == isTLS:
		return nil, ErrClientTLS
	}
	return nil, nil // it will be told where it does not speak HTTP
}

// errNotHTTP sends a connection to the tunnel.
var errNotHTTP = errors.New("this is not HTTP")

// known returns what the application is known to speak, or Auto.
func (p *Proxy) known() Protocol {
	if proven := p.proven.Load(); proven != nil {
		return *proven
	}
	return Auto
}

// prove remembers what the application has shown.
func (p *Proxy) prove(protocol Protocol) {
	if p.proven.CompareAndSwap(nil, &protocol) {
		p.o.Log.Debug("application told", "name", p.o.Name, "protocol", protocol)
	}
}
