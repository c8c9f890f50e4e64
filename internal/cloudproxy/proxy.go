package cloudproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"time"

	"tshx/internal/conn"
	"tshx/internal/httproute"
	"tshx/internal/httpserve"
	"tshx/internal/localca"
	"tshx/internal/localproxy"
)

// Proxy is a localproxy.Handler. New starts it, Close ends it.
type Proxy struct {
	o        Options
	ca       []byte // PEM
	server   *httpserve.Server
	upstream []*httproute.Upstream // of each app
	reverse  []http.Handler        // the same
	serial   atomic.Int64

	ctx    context.Context // of what is passed through
	cancel context.CancelFunc
}

// New makes the certificate authority of this run and starts the inner server,
// which as yet gets no connections. The caller closes the Proxy.
func New(o Options) (*Proxy, error) {
	o.complete()
	ca, err := localca.New("tshx local proxy for "+o.Cloud.Clients(), o.Now())
	if err != nil {
		return nil, err
	}
	leaves, err := ca.Leaves(localca.LeavesOptions{Default: o.Hosts, Allow: func(host string) bool { return o.Cloud.Owns(host, "443") }})
	if err != nil {
		return nil, err
	}
	p := &Proxy{o: o, ca: ca.PEM()}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	dials := httproute.NewLimit(0)
	for _, app := range o.Apps {
		up := httproute.New(httproute.Options{Route: app.Route, Dialer: o.Dialer, Limit: dials, Log: o.Log})
		p.upstream = append(p.upstream, up)
		p.reverse = append(p.reverse, up.Reverse(httproute.ReverseOptions{Rewrite: rewrite, ModifyResponse: p.respond, Failed: p.failed}))
	}
	// Only HTTP/1.1: it is what goes on to the app, and what can change to WebSocket.
	// The few calls that need HTTP/2 stream signed events, which nobody could sign
	// anew.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	p.server = httpserve.New(httpserve.Options{
		Handler: http.HandlerFunc(p.serveHTTP), TLS: localca.ServerTLS(leaves.Get), Protocols: protocols,
		HeadTimeout: localproxy.HelloTimeout, Log: o.Log,
	})
	return p, nil
}

// CA is the certificate of the authority that programs are to trust, as PEM.
func (p *Proxy) CA() []byte { return p.ca }

// Drain closes the connections that carry no request, and others behind the
// requests that they carry. What is passed through goes on.
func (p *Proxy) Drain() { p.server.Drain() }

// Close cuts all connections and returns when nothing goes on any more.
func (p *Proxy) Close() error {
	p.cancel()
	p.server.Close()
	for _, up := range p.upstream {
		up.Close()
	}
	return nil
}

// ServeConn implements localproxy.Handler.
func (p *Proxy) ServeConn(ctx context.Context, c net.Conn) {
	id := localproxy.Connection{ID: p.serial.Add(1), Client: c.RemoteAddr()}
	if p.o.Opened != nil {
		p.o.Opened(id)
	}
	start := time.Now()
	end := p.serveConn(ctx, c)
	c.Close()
	end.Duration = time.Since(start)
	if ctx.Err() != nil {
		end.Reason, end.Err = localproxy.Drain, context.Cause(ctx)
	}
	if p.o.Closed != nil {
		p.o.Closed(id, end)
	}
	p.o.Log.Debug("connection ended", "conn", id.ID, "remote", id.Client.String(),
		"sent", end.Sent, "received", end.Received, "dur", end.Duration, "reason", end.Reason, "err", end.Err)
}

// passed says, in the place of a connection, where one is to be passed through to.
type passed struct{ *localproxy.Connect }

func (*passed) Error() string { return "not the cloud's" }

func (p *Proxy) serveConn(ctx context.Context, c net.Conn) localproxy.End {
	open := func(context.Context) (net.Conn, error) { return p.connect(c) }
	if p.o.Endpoint {
		open = nil
	}
	stats, err := p.server.Serve(ctx, c, open)
	var other *passed
	var refused *localproxy.Refusal
	switch {
	case errors.As(err, &other):
		return p.pass(ctx, c, other.Connect)
	case errors.Is(err, conn.ErrClientGone):
		return localproxy.End{Reason: localproxy.ClientGone, Err: err}
	case errors.As(err, &refused):
		return localproxy.End{Reason: localproxy.Refused, Err: err}
	case err != nil:
		return localproxy.End{Reason: localproxy.Drain, Err: err, Stats: stats}
	}
	return localproxy.End{Reason: localproxy.EOF, Stats: stats}
}

// connect reads a CONNECT and grants it if it is to the cloud.
func (p *Proxy) connect(c net.Conn) (net.Conn, error) {
	q, err := localproxy.ReadConnect(c, p.o.Cloud.Clients())
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(q.Addr)
	if !p.o.Cloud.Owns(host, port) {
		return nil, &passed{q}
	}
	return q.Grant()
}

// pass joins a client with what it asked for, which is not the cloud's.
func (p *Proxy) pass(ctx context.Context, c net.Conn, q *localproxy.Connect) localproxy.End {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(net.ErrClosed) })()
	stop := context.AfterFunc(ctx, func() { conn.Abort(c) })
	defer stop()
	up, err := p.o.Direct(ctx, "tcp", q.Addr)
	if err != nil {
		if ctx.Err() == nil {
			q.Refuse(directStatus(err), strings.Map(oneLine, p.o.Explain(&DirectError{Addr: q.Addr, Err: err})))
		}
		return localproxy.End{Reason: localproxy.Refused, Err: err}
	}
	client, err := q.Grant()
	if err != nil {
		up.Close()
		return localproxy.End{Reason: localproxy.ClientGone, Err: err}
	}
	stats, err := conn.Splice(ctx, client, up)
	end := localproxy.End{Stats: stats, Reason: localproxy.EOF}
	var side *conn.SideError
	switch {
	case conn.Orderly(err):
	case errors.As(err, &side) && side.Remote:
		end.Reason, end.Err = localproxy.UpstreamError, err
	default:
		end.Reason, end.Err = localproxy.ClientGone, err
	}
	return end
}

// DirectError says that what is not the cloud's could not be dialled.
type DirectError struct {
	Addr string
	Err  error
}

func (e *DirectError) Error() string {
	return fmt.Sprintf("%s is not the cloud's, and cannot be reached: %v", e.Addr, e.Err)
}

func (e *DirectError) Unwrap() error { return e.Err }

// Hint says what to do: what Err says, such as that of a forward proxy, or else
// nothing that has to do with the access proxy.
func (e *DirectError) Hint() string {
	var inner interface{ Hint() string }
	if errors.As(e.Err, &inner) && inner.Hint() != "" {
		return inner.Hint()
	}
	return "check host and port, and your network"
}

func oneLine(r rune) rune {
	if r == '\r' || r == '\n' {
		return ' '
	}
	return r
}

// directStatus is the answer to a CONNECT whose dial failed.
func directStatus(err error) int {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// checkedKey is of the context of a request that goes to an app.
type checkedKey struct{}

// serveHTTP has a request checked and forwarded.
func (p *Proxy) serveHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := p.o.Cloud.Check(r)
	if err != nil {
		p.failed(w, r, err)
		return
	}
	if c.Answer != nil {
		c.Answer.ServeHTTP(w, r)
		return
	}
	if c.Request != nil {
		r = c.Request
	}
	r = r.WithContext(context.WithValue(r.Context(), checkedKey{}, c))
	r.Body = &checkedBody{r.Body}
	p.reverse[c.App].ServeHTTP(w, r)
}

// checkedBody tells a body that is not let through from a client that has gone.
type checkedBody struct{ io.ReadCloser }

func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if e, ok := errors.AsType[*Error](err); ok {
		err = &httproute.BodyError{Err: e}
	}
	return n, err
}

// rewrite makes of a request what the app gets.
func rewrite(pr *httputil.ProxyRequest) {
	c := pr.In.Context().Value(checkedKey{}).(*Checked)
	pr.Out.Host = c.Host
	pr.Out.Header.Set("X-Forwarded-Host", c.Host)
	for name, values := range c.Header {
		pr.Out.Header[name] = values
	}
}

// respond looks at an answer.
func (p *Proxy) respond(res *http.Response) error {
	if err := refusedByProxy(res); err != nil {
		return err
	}
	for _, text := range res.Header.Values(headerAPIInfo) {
		p.o.Log.Debug("the access proxy remarks", "text", text)
	}
	c := res.Request.Context().Value(checkedKey{}).(*Checked)
	if c.Response == nil {
		return nil
	}
	return c.Response(res)
}

// failed answers a request that is not let through or got no answer.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil { // the client has gone, or is cut
		panic(http.ErrAbortHandler)
	}
	if p.o.Report != nil {
		p.o.Report(err)
	}
	if p.o.Unheard != nil && r.Method == http.MethodHead {
		p.o.Unheard(err)
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Status: httproute.StatusOf(err), Text: p.o.Explain(err)}
		if refused, ok := errors.AsType[*RefusedError](err); ok {
			e.Status = refused.code()
		}
	}
	p.o.Log.Debug("request refused", "method", r.Method, "host", r.Host, "code", e.Status, "err", err)
	p.o.Cloud.WriteError(w, r, e)
}

var _ localproxy.Handler = (*Proxy)(nil)
