package kubeproxy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"tshx/internal/conn"
	"tshx/internal/localproxy"
)

// ServeConn implements localproxy.Handler.
func (p *Proxy) ServeConn(ctx context.Context, c net.Conn) {
	id := localproxy.Connection{ID: p.serial.Add(1), Client: c.RemoteAddr()}
	if p.o.Opened != nil {
		p.o.Opened(id)
	}
	start := time.Now()
	stats, err := p.server.Serve(ctx, c, func(context.Context) (net.Conn, error) { return p.connect(c) })
	c.Close()
	end := localproxy.End{Stats: stats, Reason: localproxy.EOF, Err: err}
	switch {
	case ctx.Err() != nil:
		end.Reason, end.Err = localproxy.Drain, context.Cause(ctx)
	case errors.Is(err, net.ErrClosed):
		end.Reason = localproxy.Drain
	case errors.Is(err, conn.ErrClientGone):
		end.Reason = localproxy.ClientGone
	case err != nil:
		end.Reason = localproxy.Refused
	}
	end.Duration = time.Since(start)
	if p.o.Closed != nil {
		p.o.Closed(id, end)
	}
	p.o.Log.Debug("connection ended", "conn", id.ID, "remote", id.Client.String(),
		"sent", end.Sent, "received", end.Received, "dur", end.Duration, "reason", end.Reason, "err", end.Err)
}

// connect reads a CONNECT and grants it if it is to one of the clusters. A client
// that is refused has been told so.
func (p *Proxy) connect(c net.Conn) (net.Conn, error) {
	q, err := localproxy.ReadConnect(c, "Kubernetes clients")
	if err != nil {
		return nil, err
	}
	if !p.addrs[q.Addr] {
		return nil, q.Refuse(http.StatusForbidden, "this port leads only to the Kubernetes clusters it was started for")
	}
	return q.Grant()
}
