package httpserve

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"tshx/internal/conn"
)

// handed is a connection in the hands of net/http, or of what has taken it over.
type handed struct {
	net.Conn
	socket        net.Conn        // as it was accepted
	ctx           context.Context // ends with Serve's
	cut           context.CancelCauseFunc
	once          sync.Once
	closed        chan struct{}
	read, written atomic.Int64
}

func (h *handed) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.read.Add(int64(n))
	return n, err
}

func (h *handed) Write(b []byte) (int, error) {
	n, err := h.Conn.Write(b)
	h.written.Add(int64(n))
	return n, err
}

func (h *handed) Close() error {
	defer h.once.Do(func() { close(h.closed) })
	return h.Conn.Close()
}

func (h *handed) CloseWrite() error { return conn.CloseWrite(h.Conn) }

// NetConn lets conn.Abort get at the socket. Close is still to be called then.
func (h *handed) NetConn() net.Conn { return h.Conn }

// below returns the handed connection that c is, or stands on.
func below(c net.Conn) (*handed, bool) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	h, ok := c.(*handed)
	return h, ok
}

type handedKey struct{}

// connContext ends the requests of a connection with it.
func connContext(ctx context.Context, c net.Conn) context.Context {
	h, ok := below(c)
	if !ok {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, handedKey{}, h))
	context.AfterFunc(h.ctx, func() { cancel(context.Cause(h.ctx)) })
	return ctx
}

// connState notes the first request of a connection.
func (s *Server) connState(c net.Conn, state http.ConnState) {
	if h, ok := below(c); ok && state != http.StateNew {
		s.fresh.Delete(h)
	}
}
