package appproxy

import (
	"context"
	"errors"
	"net"

	"tshx/internal/localproxy"
)

// ErrNoAnswer is what the route of a TCP application looks like where the
// application is of another kind, or down.
var ErrNoAnswer = errors.New("the proxy closed the connection without an answer")

// tunnel joins a client to a TCP application. m, if not nil, is what meet has come
// to: then nothing is dialled.
func (p *Proxy) tunnel(ctx context.Context, c net.Conn, m *meeting) (end localproxy.End) {
	t := localproxy.Tunnel{
		Dial: func(ctx context.Context, client net.Conn) (net.Conn, net.Conn, error) {
			if m != nil {
				return client, m.upstream, m.err
			}
			up, err := p.dialTCP(ctx)
			return client, up, err
		},
		Check: checkTCP, Route: title(p.o.Name), Log: p.o.Log, Report: p.o.Report,
		Closed: func(_ localproxy.Connection, e localproxy.End) { end = e },
	}
	t.ServeConn(ctx, c)
	return end
}

func (p *Proxy) dialTCP(ctx context.Context) (net.Conn, error) {
	return p.o.Dialer.Dial(ctx, TCPRoute(p.o.Name, p.o.Certificate))
}

// checkTCP returns an error where an application would have answered.
func checkTCP(head []byte) error {
	switch {
	case judge(head) == isTLS:
		return errors.Join(ErrNoAnswer, ErrClientTLS)
	case len(head) > 0:
		return ErrNoAnswer
	}
	return nil
}
