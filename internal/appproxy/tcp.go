package appproxy

import (
	"bytes"
	"context"
	"errors"
	"net"

	"tshx/internal/conn"
	"tshx/internal/localproxy"
)

// ErrNoAnswer is what the route of a TCP application looks like where the
// application is of another kind, or down.
var ErrNoAnswer = errors.New("the proxy closed the connection without an answer")

// tunnel joins a client to a TCP application.
func (p *Proxy) tunnel(ctx context.Context, c net.Conn) (end localproxy.End) {
	route := TCPRoute(p.o.Name, p.o.Certificate)
	t := localproxy.Tunnel{
		Dial: func(ctx context.Context, client net.Conn) (net.Conn, net.Conn, error) {
			up, err := p.o.Dialer.Dial(ctx, route)
			if err == nil && p.known() == Auto {
				up = &listened{Conn: up, heard: p.heard}
			}
			return client, up, err
		},
		Check: checkTCP, Route: route.Name, Log: p.o.Log, Report: p.o.Report,
		Closed: func(_ localproxy.Connection, e localproxy.End) { end = e },
	}
	t.ServeConn(ctx, c)
	return end
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

// heard draws the conclusion from the first bytes of a TCP application: no other
// gets to say any by that route. One that speaks HTTP keeps being looked at.
func (p *Proxy) heard(first []byte) {
	if !bytes.HasPrefix(first, []byte("HTTP/")) {
		p.prove(TCP)
	}
}

// listened is an upstream of which somebody wants to hear the first bytes.
type listened struct {
	net.Conn
	heard func(first []byte) // nil once it has
}

func (l *listened) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 && l.heard != nil {
		l.heard(p[:n])
		l.heard = nil
	}
	return n, err
}

func (l *listened) CloseWrite() error { return conn.CloseWrite(l.Conn) }

// NetConn returns the connection beneath, as tls.Conn.NetConn does.
func (l *listened) NetConn() net.Conn { return l.Conn }

// Polled says that a temporary error of the connection beneath does no harm.
func (l *listened) Polled() net.Conn { return l.Conn }
