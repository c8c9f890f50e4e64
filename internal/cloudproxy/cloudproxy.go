// Package cloudproxy lets programs use the API of a cloud by apps of the access
// proxy, as whom the app is for and without credentials of the cloud.
//
//	p, err := cloudproxy.New(cloudproxy.Options{Cloud: cloudproxy.NewAWS(o), Apps: apps, Dialer: dialer, Direct: dial})
//	defer p.Close()
//	os.WriteFile(path, p.CA(), 0o600) // for the programs to trust
//	err = (&localproxy.Server{Handler: p}).Serve(ctx, ln)
//
// The port is a forward proxy. What goes to the cloud ends here: TLS by a
// certificate of this run, then each request is checked, which proves that it
// comes from a program that was given the keys of this run, and goes on over the
// app (docs/protocol.md, "AWS"). Everything else is passed
// through unseen. Where programs are told this address as that of the cloud, the
// port is TLS itself.
//
// A Cloud is what differs per cloud. The package knows nothing of logins.
package cloudproxy

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"tshx/internal/localproxy"
	"tshx/internal/tlsroute"
)

// Cloud is what differs per cloud. The methods are called concurrently.
type Cloud interface {
	// Clients says who the proxy is for, in words to people: "AWS clients".
	Clients() string
	// Owns reports whether the TLS of clients to host, in lower case, and port ends
	// here.
	Owns(host, port string) bool
	// Check decides about a request, of which it may have read the body. An error is
	// answered by WriteError; a *Error says how.
	Check(r *http.Request) (*Checked, error)
	// WriteError answers in the form that the cloud's programs understand. One that
	// has no Code is ours: 401 is a certificate that is missing, has ended or was
	// refused, 502 and 504 are failures on the way.
	WriteError(w http.ResponseWriter, r *http.Request, e *Error)
}

// Checked is what becomes of a request.
type Checked struct {
	// Answer answers it here. The rest does not count then.
	Answer http.Handler
	// App is the index in Options.Apps of the app that it goes over.
	App int
	// Request is what goes there; nil is the request as it came.
	Request *http.Request
	// Host is the host of the cloud that it is for, which the app is told.
	Host string
	// Header are headers for the app itself, set besides. Those of these names that
	// the client had sent are for Check to remove.
	Header http.Header
	// Response looks at the answer, and may replace its body. Nil does nothing.
	Response func(*http.Response) error
}

// Error is a request that is not done.
type Error struct {
	Status int    // of HTTP
	Code   string // the cloud's word for programs; empty where it is ours
	Text   string // one line for people
}

func (e *Error) Error() string { return e.Text }

// App is one app to go over.
type App struct {
	Name string
	// Route leads to it, by tlsroute.ALPNHTTP1. Its certificate is asked for at each
	// request.
	Route tlsroute.Route
}

// Options configure a Proxy. Cloud, Apps, Dialer and Direct are needed. The
// functions are called concurrently.
type Options struct {
	Cloud  Cloud
	Apps   []App
	Dialer tlsroute.RouteDialer
	// Direct dials what is not the cloud's, given a host:port.
	Direct func(ctx context.Context, network, addr string) (net.Conn, error)
	// Endpoint says that programs are told the port as the cloud's address: it is
	// TLS itself, and no forward proxy.
	Endpoint bool
	// Hosts are the names and addresses by which programs may reach it then. Nil
	// means those of loopback.
	Hosts []string
	// Explain words an error for people, in one line with what to do about it. Nil
	// means its own text.
	Explain func(error) string
	// Report is told about each request that failed for lack of a certificate or
	// of the upstream, or was not let through. Nil does nothing.
	Report func(error)
	// Unheard is told about those of them of which the answer to the client says
	// nothing, because one to HEAD has no body. Nil does nothing.
	Unheard func(error)
	// Opened is called for each accepted connection, Closed at its end. Nil does
	// nothing.
	Opened func(localproxy.Connection)
	Closed func(localproxy.Connection, localproxy.End)
	Log    *slog.Logger     // nil drops all
	Now    func() time.Time // nil means time.Now
}

// loopbackHosts are in the certificate for clients that name no host.
var loopbackHosts = []string{"127.0.0.1", "::1", "localhost"}

func (o *Options) complete() {
	if o.Hosts == nil {
		o.Hosts = loopbackHosts
	}
	if o.Explain == nil {
		o.Explain = error.Error
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}
