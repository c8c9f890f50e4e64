package upgrade

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"tshx/internal/conn"
)

// serve runs h.Serve on c and returns once c is closed.
func (h *Handler) serve(r *http.Request, c net.Conn) {
	ctx, cancel := context.WithCancel(r.Context())
	s := &stream{Conn: c, remote: c.RemoteAddr(), cancel: cancel}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && ap.String() != s.remote.String() {
		s.remote = net.TCPAddrFromAddrPort(ap)
	}
	// However this ends, a panic of Serve included, c does not stay open.
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if !h.streams.add(s) {
		return
	}
	defer h.streams.remove(s)
	h.Serve(ctx, s)
	<-ctx.Done()
}

// Shutdown refuses new upgrades and waits until the open streams have ended.
// When ctx ends first it closes them and returns the reason at once.
func (h *Handler) Shutdown(ctx context.Context) error {
	idle := h.streams.refuse()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		h.streams.closeAll()
		return context.Cause(ctx)
	}
}

// stream is what Serve gets. Closing it ends its context.
type stream struct {
	net.Conn
	remote net.Addr
	cancel context.CancelFunc

	once sync.Once
	err  error
}

// IsStream reports whether c is a stream that a Handler has served, or stands on
// one, as a TLS connection inside of it does.
func IsStream(c net.Conn) bool {
	for {
		if _, ok := c.(*stream); ok {
			return true
		}
		above, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return false
		}
		c = above.NetConn()
	}
}

func (s *stream) RemoteAddr() net.Addr { return s.remote }
func (s *stream) CloseWrite() error    { return conn.CloseWrite(s.Conn) }

// NetConn returns the connection beneath, so that conn.Abort gets at the socket: a
// client that takes the end of the carrier for that of the stream, as many do, is
// not to see an orderly one. Close is still to be called then.
func (s *stream) NetConn() net.Conn { return s.Conn }

func (s *stream) Close() error {
	s.once.Do(func() {
		s.err = s.Conn.Close()
		s.cancel()
	})
	return s.err
}

// streams tracks what runs behind a Handler. Its zero value is ready.
type streams struct {
	mu       sync.Mutex
	open     map[*stream]struct{}
	requests int           // entered and not left
	idle     chan struct{} // set by refuse, closed when requests is 0
	cut      bool          // closeAll was called
}

// enter counts one request until leave is called; ok is false at shutdown.
func (s *streams) enter() (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		return nil, false
	}
	s.requests++
	return s.leave, true
}

func (s *streams) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests--; s.requests == 0 && s.idle != nil {
		close(s.idle)
	}
}

func (s *streams) refuse() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil {
		s.idle = make(chan struct{})
		if s.requests == 0 {
			close(s.idle)
		}
	}
	return s.idle
}

// add reports false when it is too late for a new stream.
func (s *streams) add(c *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut {
		return false
	}
	if s.open == nil {
		s.open = make(map[*stream]struct{})
	}
	s.open[c] = struct{}{}
	return true
}

func (s *streams) remove(c *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// closeAll closes side by side: one stuck stream does not keep the others.
func (s *streams) closeAll() {
	s.mu.Lock()
	s.cut = true
	var wg sync.WaitGroup
	for c := range s.open {
		wg.Go(func() { c.Close() })
	}
	s.mu.Unlock()
	wg.Wait()
}
