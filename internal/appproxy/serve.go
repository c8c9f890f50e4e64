package appproxy

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"tshx/internal/httproute"
)

// ServeHTTP implements http.Handler for the inner server.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if bad := p.guard.judge(r); bad != nil {
		p.o.Log.Debug("request refused", "host", r.Host, "code", bad.code, "text", bad.Message)
		bad.write(w, r)
		return
	}
	p.forward.ServeHTTP(&faithful{ResponseWriter: w}, r)
}

// rewrite leaves a request as the client made it, as far as that is up to us.
func rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := in.Header[name]; ok {
			out.Header[name] = values
		}
	}
	// Nobody on the way can speak HTTP/2 inside of the route, and a request that
	// asks for it does not need a connection of its own to hear that.
	if strings.EqualFold(out.Header.Get("Upgrade"), "h2c") {
		out.Header.Del("Upgrade")
		out.Header.Del("Connection")
	}
	// A client may have signed its path as it wrote it.
	path, _, _ := strings.Cut(in.RequestURI, "?")
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && path != out.URL.EscapedPath() {
		out.URL.Opaque = path
	}
}

// faithful keeps net/http from adding to a response what the application left
// out.
type faithful struct {
	http.ResponseWriter
}

func (f *faithful) WriteHeader(code int) {
	if code >= http.StatusOK {
		for _, name := range []string{"Date", "Content-Type"} {
			if h := f.Header(); h[name] == nil {
				h[name] = nil // there, and empty
			}
		}
	}
	f.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (f *faithful) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// answered looks at an answer and passes it on as it is.
func (p *Proxy) answered(res *http.Response) error {
	if res.StatusCode < http.StatusBadRequest {
		p.prove(HTTP)
	}
	if text := httproute.APIError(res); text != "" {
		p.o.Report(&SessionError{text})
	} else if res.StatusCode == http.StatusForbidden && httproute.Bare(res) {
		p.o.Report(&DeniedError{})
	} else if to, ok := p.toLogin(res); ok {
		p.o.Report(&SessionError{fmt.Sprintf("it sends the client to %s", to)})
	}
	return nil
}

// SessionError says that it is the proxy that answered a request, which has to do
// with the session.
type SessionError struct{ Text string }

func (e *SessionError) Error() string {
	return "the proxy answered in place of the application: " + e.Text
}

// DeniedError says that an answer is what the proxy says to a session that it does
// not know, which an application may say as well.
type DeniedError struct{}

func (*DeniedError) Error() string {
	return "the answer was just \"Forbidden\", as the proxy has it where it does not know the session"
}

// Hint says what to do, if it was the proxy.
func (*DeniedError) Hint() string {
	return "unless the application says so, log in to it again with tsh apps login"
}

// toLogin returns where on the proxy a client is sent to log in.
func (p *Proxy) toLogin(res *http.Response) (string, bool) {
	if p.o.ProxyAddr == "" || res.StatusCode < 300 || res.StatusCode > 399 {
		return "", false
	}
	to, err := url.Parse(res.Header.Get("Location"))
	if err != nil || hostOf(to.Host) != hostOf(p.o.ProxyAddr) {
		return "", false
	}
	login := strings.HasPrefix(to.Path, "/web/launch/") || strings.HasPrefix(to.Path, "/web/login")
	return to.Scheme + "://" + to.Host + to.Path, login
}

// failed answers a request that the application did not.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	p.o.Report(err)
	a := &answer{code: httproute.StatusOf(err), name: p.o.Name, Advice: p.o.Explain(err)}
	a.write(w, r)
}
