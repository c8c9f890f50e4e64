package kubeproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tshx/internal/conn"
	"tshx/internal/localproxy"
)

// Bounds of what a client has to say first.
const (
	// HelloTimeout is how long it may take for its CONNECT, then for the TLS
	// handshake, and then for the head of each request that it has begun.
	HelloTimeout = 10 * time.Second
	// refuseEnd is how long a refused client may take to end its side: data that
	// is still under way would reset the connection, and with it the answer.
	refuseEnd = time.Second
	// maxHead bounds the CONNECT.
	maxHead = 64 << 10
)

// ServeConn implements localproxy.Handler.
func (p *Proxy) ServeConn(ctx context.Context, c net.Conn) {
	if !p.begin() {
		c.Close()
		return
	}
	defer p.wg.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(net.ErrClosed) })()
	p.fresh.Store(c, cancel)
	defer p.fresh.Delete(c)
	id := localproxy.Connection{ID: p.serial.Add(1), Client: c.RemoteAddr()}
	if p.o.Opened != nil {
		p.o.Opened(id)
	}
	start := time.Now()
	stop := context.AfterFunc(ctx, func() { conn.Abort(c) })
	end := p.serveConn(ctx, c)
	stop()
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

func (p *Proxy) serveConn(ctx context.Context, c net.Conn) localproxy.End {
	early, err := p.connect(c)
	if errors.Is(err, conn.ErrClientGone) {
		return localproxy.End{Reason: localproxy.ClientGone, Err: err}
	}
	if err != nil {
		return localproxy.End{Reason: localproxy.Refused, Err: err}
	}
	t := &tunnel{Conn: conn.Buffered(c, early), socket: c, ctx: ctx, closed: make(chan struct{})}
	if err := p.queue.Put(ctx, t); err != nil {
		return localproxy.End{Reason: localproxy.Drain, Err: err}
	}
	<-t.closed
	return localproxy.End{Reason: localproxy.EOF, Stats: conn.Stats{Sent: t.read.Load(), Received: t.written.Load()}}
}

// refusal is an answer to anything but a CONNECT to one of the clusters.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// connect reads a CONNECT and grants it. It returns what came behind it. A client
// that is refused has been told so.
func (p *Proxy) connect(c net.Conn) (early []byte, err error) {
	c.SetDeadline(time.Now().Add(HelloTimeout))
	br := bufio.NewReader(io.LimitReader(c, maxHead))
	target, err := readConnect(br)
	if err == nil && !p.addrs[target] {
		err = &refusal{http.StatusForbidden, "this port leads only to the Kubernetes clusters it was started for"}
	}
	var refused *refusal
	if errors.As(err, &refused) {
		refused.tell(c)
	}
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return nil, conn.ErrClientGone
	}
	c.SetDeadline(time.Time{})
	return br.Peek(br.Buffered())
}

// readConnect returns the canonical address that a client wants.
func readConnect(br *bufio.Reader) (string, error) {
	r, err := http.ReadRequest(br)
	var timeout net.Error
	switch {
	case errors.Is(err, io.EOF), conn.PeerGone(err), errors.As(err, &timeout):
		return "", conn.ErrClientGone // having said nothing
	case err != nil, r.Method != http.MethodConnect:
		return "", &refusal{http.StatusBadRequest, "this port is a forward proxy for Kubernetes clients: it takes CONNECT only"}
	}
	addr, err := canonical(r.RequestURI)
	if err != nil {
		return "", &refusal{http.StatusBadRequest, "CONNECT needs a host and a port"}
	}
	return addr, nil
}

// tell answers the client. The line is in the place of the standard phrase, too,
// since that is what Go programs like kubectl show.
func (r *refusal) tell(c net.Conn) {
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		r.code, r.text, len(r.text)+1, r.text)
	conn.CloseWrite(c)
	c.SetReadDeadline(time.Now().Add(refuseEnd))
	io.Copy(io.Discard, c)
}

// canonical is how an address is compared. Without a port it is that of HTTPS.
func canonical(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port, err = net.SplitHostPort(addr + ":443")
	}
	if err != nil {
		return "", err
	}
	if host = strings.TrimSuffix(strings.ToLower(host), "."); host == "" || port == "" || strings.ContainsAny(host, "/@ ") {
		return "", fmt.Errorf("%q is no address", addr)
	}
	return net.JoinHostPort(host, port), nil
}

// tunnel is a connection behind its CONNECT.
type tunnel struct {
	net.Conn
	socket        net.Conn        // below it
	ctx           context.Context // ends with ServeConn's
	once          sync.Once
	closed        chan struct{}
	read, written atomic.Int64
}

func (t *tunnel) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.read.Add(int64(n))
	return n, err
}

func (t *tunnel) Write(b []byte) (int, error) {
	n, err := t.Conn.Write(b)
	t.written.Add(int64(n))
	return n, err
}

func (t *tunnel) Close() error {
	defer t.once.Do(func() { close(t.closed) })
	return t.Conn.Close()
}

func (t *tunnel) CloseWrite() error { return conn.CloseWrite(t.Conn) }

// NetConn lets conn.Abort get at the socket. Close is still to be called then.
func (t *tunnel) NetConn() net.Conn { return t.Conn }

// connContext ends the requests of a connection with it.
func connContext(ctx context.Context, c net.Conn) context.Context {
	t, ok := c.(*tls.Conn).NetConn().(*tunnel)
	if !ok {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })
	return ctx
}
