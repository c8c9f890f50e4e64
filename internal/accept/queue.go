package accept

import (
	"context"
	"net"
	"sync"
)

// Queue is a listener that is handed its connections: it joins a router to
// servers which insist on a net.Listener, such as http.Server.
type Queue struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// NewQueue returns a Queue that gives addr as its address.
func NewQueue(addr net.Addr) *Queue {
	return &Queue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// Put hands c to an Accept, which then owns it. Where that is not possible any
// more, because q is closed or ctx has ended, Put closes c and returns an error.
func (q *Queue) Put(ctx context.Context, c net.Conn) error {
	err := net.ErrClosed
	select {
	case q.conns <- c:
		return nil
	case <-q.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	c.Close()
	return err
}

// Accept implements net.Listener.
func (q *Queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Put with net.ErrClosed.
func (q *Queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr implements net.Listener.
func (q *Queue) Addr() net.Addr { return q.addr }
