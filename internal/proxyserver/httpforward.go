package proxyserver

import (
	"errors"
	"net/http"
	"net/http/httputil"

	"tshx/internal/conn"
)

// forward is the way of one request to a backend.
type forward struct {
	*httpBackend
	client *http.Request // as it came
	// prepare makes a request one to the backend. Its hop-by-hop headers are gone by
	// then: a client may have named those as such that are set here.
	prepare func(out *http.Request) error
	// answer, if not nil, may change the header of an answer.
	answer func(http.Header)
	// refuse answers in place of a backend that did not.
	refuse func(w http.ResponseWriter, err error)
}

// serve answers the client's request. What it cannot end as the backend would
// have, it aborts.
func (f *forward) serve(w http.ResponseWriter) {
	// Otherwise what is left of a body is lost once the answer begins.
	http.NewResponseController(w).EnableFullDuplex()
	f.server.log.Debug("request", "route", f.to.Kind+" "+f.to.Name, "remote", clientAddr(f.client.Context()), "method", f.client.Method)
	if upgradeOf(f.client.Header) != "" {
		f.upgrade(w)
		return
	}
	f.pass(w, f)
}

// pass answers the client's request with what by gets.
func (f *forward) pass(w http.ResponseWriter, by http.RoundTripper) {
	p := &httputil.ReverseProxy{
		Transport: by, FlushInterval: -1, ErrorLog: f.server.http.ErrorLog,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.RawQuery = pr.In.URL.RawQuery
			pr.Out.Trailer = pr.In.Trailer // filled in behind the body, of which a copy knows nothing
		},
		ModifyResponse: func(res *http.Response) error { f.answered(res.Header); return nil },
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, err error) { f.failed(w, err) },
	}
	done := false
	defer func() {
		if !done && !f.client.ProtoAtLeast(1, 1) {
			breakOff(w)
		}
	}()
	p.ServeHTTP(w, f.client)
	if f.server.ctx.Err() != nil { // a backend may take our farewell for its cue to end an answer
		panic(http.ErrAbortHandler)
	}
	done = true
}

// breakOff cuts the connection of an answer that is not whole: HTTP/1.0 knows its
// end by that of the connection only.
func breakOff(w http.ResponseWriter) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		conn.Abort(c)
		c.Close()
	}
}

// RoundTrip implements http.RoundTripper, for requests that it may change.
func (f *forward) RoundTrip(out *http.Request) (*http.Response, error) {
	if err := f.ready(out); err != nil {
		return nil, err
	}
	return f.send(out)
}

// ready prepares a request, and says for whom it is made.
func (f *forward) ready(out *http.Request) error {
	tellClient(out)
	out.Header.Set("X-Forwarded-Host", f.client.Host)
	out.Header.Set("X-Forwarded-Proto", "https")
	return f.prepare(out)
}

func (f *forward) answered(h http.Header) {
	if f.answer != nil {
		f.answer(h)
	}
}

func (f *forward) failed(w http.ResponseWriter, err error) {
	if f.client.Context().Err() != nil { // the client has gone, or is cut
		panic(http.ErrAbortHandler)
	}
	f.server.refused(f.to.Kind+" "+f.to.Name, clientAddr(f.client.Context()), err)
	f.refuse(w, err)
}

// timedOut reports whether err is about somebody who did not answer in time.
func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
