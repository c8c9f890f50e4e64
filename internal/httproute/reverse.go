package httproute

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"sync"
)

// ReverseOptions say what a handler does besides forwarding. Only Failed is
// needed. The functions are called concurrently.
type ReverseOptions struct {
	// Rewrite changes what is sent. Out is what httputil.ReverseProxy makes of a
	// request, which is without hop-by-hop headers and those that tell of proxies;
	// its Host is the client's, its query as it came. Nil changes nothing.
	Rewrite func(*httputil.ProxyRequest)
	// ModifyResponse changes an answer, unless it changes the protocol. An error
	// goes to Failed. Nil changes nothing.
	ModifyResponse func(*http.Response) error
	// Failed answers a request that got no answer from upstream. StatusOf knows
	// the code. It is not called where the client has gone.
	Failed func(w http.ResponseWriter, r *http.Request, err error)
}

// Reverse returns a handler that forwards its requests: bodies and trailers both
// ways as they come, also at the same time, informational answers, and changes of
// the protocol. An answer that breaks ends in a panic of http.ErrAbortHandler, by
// which the server breaks it for the client, too.
func (u *Upstream) Reverse(o ReverseOptions) http.Handler {
	if o.Rewrite == nil {
		o.Rewrite = func(*httputil.ProxyRequest) {}
	}
	proxy := &httputil.ReverseProxy{
		Transport: u, FlushInterval: -1, BufferPool: &copyBuffers, ErrorLog: u.errorLog(),
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery // also where odd
			pr.Out.Trailer = pr.In.Trailer           // the server fills it in behind the body
			o.Rewrite(pr)
		},
		ModifyResponse: func(res *http.Response) error { return modify(res, o.ModifyResponse) },
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, err error) { u.failed(w, r, err, o.Failed) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !u.begin() {
			panic(http.ErrAbortHandler)
		}
		defer u.wg.Done()
		// Otherwise the rest of a body is lost once the answer begins.
		http.NewResponseController(w).EnableFullDuplex()
		if r.Trailer == nil && r.ContentLength < 0 {
			r.Trailer = http.Header{} // there may be some that were not announced
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(u.ctx, cancel)()
		in := r.WithContext(ctx)
		in.Body = &clientBody{r.Body, cancel}
		proxy.ServeHTTP(w, in)
		if u.ctx.Err() != nil { // the other side may take our farewell for its cue to end an answer
			panic(http.ErrAbortHandler)
		}
	})
}

// BodyError is what a body yields in the place of its end where the handler in
// front does not let it through: Failed answers it.
type BodyError struct{ Err error }

func (e *BodyError) Error() string { return e.Err.Error() }
func (e *BodyError) Unwrap() error { return e.Err }

// clientBody ends a request of which the body breaks: its client has gone, and
// that is not the fault of the upstream.
type clientBody struct {
	io.ReadCloser
	gone context.CancelFunc
}

func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var refused *BodyError
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) && !errors.As(err, &refused) {
		b.gone()
	}
	return n, err
}

// modify takes over a connection that has changed its protocol.
func modify(res *http.Response, next func(*http.Response) error) error {
	if s, ok := res.Body.(*switched); ok {
		res.Body = http.NoBody // it is not to be closed
		return &switchedError{res, s.upstream}
	}
	if next == nil {
		return nil
	}
	return next(res)
}

// failed has a request answered that did not get an answer, or joins the
// connections of one that changed the protocol.
func (u *Upstream) failed(w http.ResponseWriter, r *http.Request, err error, answer func(http.ResponseWriter, *http.Request, error)) {
	var done *switchedError
	if errors.As(err, &done) {
		if err = u.join(w, r, done); err == nil {
			return
		}
	}
	if r.Context().Err() != nil { // the client has gone, or is cut
		panic(http.ErrAbortHandler)
	}
	u.o.Log.Debug("request failed", "route", u.o.Route.Name, "code", StatusOf(err), "err", err)
	answer(w, r, err)
}

// copyBuffers are held by each stream for as long as it lasts, as is HTTP/2's own
// copy of what is written at once. Larger ones would make copying a little cheaper.
var copyBuffers = bufferPool{sync.Pool{New: func() any { return new([8 << 10]byte) }}}

type bufferPool struct{ sync.Pool }

func (p *bufferPool) Get() []byte  { return p.Pool.Get().(*[8 << 10]byte)[:] }
func (p *bufferPool) Put(b []byte) { p.Pool.Put((*[8 << 10]byte)(b)) }
