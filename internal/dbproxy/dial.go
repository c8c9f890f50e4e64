package dbproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"tshx/internal/tlsroute"
)

// Upstream dials one database for each client of a local listener.
type Upstream struct {
	Engine   *Engine
	Database string // its name in the cluster
	Dialer   tlsroute.RouteDialer
	// Cert reads the database certificate. It is called for each connection,
	// of which it fails those that could not show it.
	Cert func() (*tls.Certificate, error)
	// Tunnel shows the certificate for every client, who then speaks without
	// TLS of its own.
	Tunnel bool
	// AnyPage lets in the requests that web pages make a browser send. Otherwise
	// those to a tunnel end with *WebPageError.
	AnyPage bool
}

// ErrNoAnswer says that the proxy took what a client sent and ended the
// connection without a byte in return, or did not even greet.
var ErrNoAnswer = errors.New("the proxy closed the connection without an answer")

// Check implements the Check of localproxy.Tunnel: it returns ErrNoAnswer where
// a database would have answered.
func (u *Upstream) Check(head []byte) error {
	e := u.Engine
	if e.ServerFirst || len(head) > 0 && (e.Unanswered == nil || !e.Unanswered(head)) {
		return ErrNoAnswer
	}
	return nil
}

// Dial implements the Dial of localproxy.Tunnel. It fails with *MismatchError
// for a client whose first bytes are not what the database understands, and with
// *WebPageError. The client that it returns replays what has been read; that is so when it fails,
// too, so that Refuse can be called.
func (u *Upstream) Dial(ctx context.Context, client net.Conn) (cl, upstream net.Conn, err error) {
	show := u.Tunnel
	if !show && u.Engine.NeedsCert != nil {
		raw := client
		stop := context.AfterFunc(ctx, func() { raw.Close() })
		client, show, err = u.Engine.NeedsCert(raw)
		stop()
		if err != nil {
			return nil, nil, err
		}
	}
	if !show && u.Cert != nil {
		// The client shows the same certificate, and hears less of why the proxy
		// does not take it.
		if _, err := u.Cert(); err != nil {
			return client, nil, err
		}
	}
	dialing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l, began := u.lookAt(client, cancel), time.Now()
	cert := u.Cert
	if !show {
		cert = nil
	}
	upstream, err = u.Dialer.Dial(dialing, u.Engine.Route(u.Database, cert))
	grace := lookTime
	switch {
	case err != nil:
		grace = 0
	case u.Engine.ServerFirst:
		grace = lookServerFirst - time.Since(began)
	}
	client, wrong := l.end(ctx, grace)
	if wrong != nil {
		if err == nil {
			upstream.Close()
		}
		return client, nil, wrong
	}
	return client, upstream, err
}
