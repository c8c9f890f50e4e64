// Package httpserve is an http.Server that is handed its connections one by one
// and follows each to its end, also behind an upgrade.
//
//	s := httpserve.New(httpserve.Options{Handler: h})
//	defer s.Close()
//	stats, err := s.Serve(ctx, c, nil) // returns when c has ended
//
// It is what stands between a loopback listener, which counts, gates and drains
// connections, and net/http, which forgets some and keeps others.
package httpserve

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tshx/internal/accept"
	"tshx/internal/conn"
)

// Options configure a Server. Only Handler is needed.
type Options struct {
	Handler http.Handler
	// TLS ends TLS. Nil is plain HTTP/1.1.
	TLS *tls.Config
	// Protocols are those offered within TLS. Nil means HTTP/1.1 and HTTP/2.
	Protocols *http.Protocols
	// HeadTimeout is how long the handshake may take, and then the head of each
	// request once it has begun. Zero is no bound.
	HeadTimeout time.Duration
	Log         *slog.Logger // nil drops all
}

// Server serves the connections that it is handed.
type Server struct {
	o      Options
	queue  *accept.Queue
	server *http.Server
	open   sync.Map // *handed to nil
	fresh  sync.Map // *handed that have begun no request yet, to nil

	ctx    context.Context // of requests
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool
	// draining is set before those that are fresh are cut.
	draining atomic.Bool
	wg       sync.WaitGroup // all that goes on
}

// New starts a Server, which as yet has no connections. The caller closes it.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, queue: accept.NewQueue(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.server = &http.Server{
		Handler: http.HandlerFunc(s.serveHTTP), TLSConfig: o.TLS, Protocols: o.Protocols, ReadHeaderTimeout: o.HeadTimeout,
		DisableGeneralOptionsHandler: true, // OPTIONS * is the handler's, too
		BaseContext:                  func(net.Listener) context.Context { return s.ctx },
		ConnContext:                  connContext, ConnState: s.connState,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	s.wg.Go(func() {
		if o.TLS != nil {
			s.server.ServeTLS(s.queue, "", "")
		} else {
			s.server.Serve(s.queue)
		}
	})
	return s
}

// Serve serves c until it ends and returns what went over it. The caller closes c
// in any case; it is cut when ctx ends or s is closed, and then the error is why.
//
// Where prepare is not nil, it reads what comes before HTTP and returns the
// connection behind that. It belongs to what a drain does not wait for. Its error
// is returned, and c has not been touched otherwise.
func (s *Server) Serve(ctx context.Context, c net.Conn, prepare func(context.Context) (net.Conn, error)) (conn.Stats, error) {
	if !s.begin() {
		return conn.Stats{}, net.ErrClosed
	}
	defer s.wg.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	h := &handed{Conn: c, socket: c, ctx: ctx, cut: cancel, closed: make(chan struct{})}
	s.open.Store(h, nil)
	defer s.open.Delete(h)
	s.fresh.Store(h, nil)
	defer s.fresh.Delete(h)
	if s.ctx.Err() != nil || s.draining.Load() { // which have not seen it
		return conn.Stats{}, net.ErrClosed
	}
	stop := context.AfterFunc(ctx, func() { conn.Abort(c) })
	if prepare != nil {
		behind, err := prepare(ctx)
		if cut := s.why(ctx); cut != nil {
			return conn.Stats{}, cut
		}
		if err != nil {
			stop()
			return conn.Stats{}, err
		}
		h.Conn = behind
	}
	defer stop()
	if err := s.queue.Put(ctx, h); err != nil {
		return conn.Stats{}, err
	}
	<-h.closed
	stats := conn.Stats{Sent: h.read.Load(), Received: h.written.Load()}
	return stats, s.why(ctx)
}

// why returns why the connection of ctx was cut, nil if it was not. Close breaks
// connections before it can say so to each.
func (s *Server) why(ctx context.Context) error {
	if ctx.Err() == nil && s.ctx.Err() != nil {
		return net.ErrClosed
	}
	return context.Cause(ctx)
}

// Drain closes the connections that carry no request, and others behind the
// requests that they carry: otherwise clients keep them, and a drain would wait
// for its whole time. New connections are closed. It returns at once.
func (s *Server) Drain() {
	if !s.begin() {
		return
	}
	go func() {
		defer s.wg.Done()
		s.server.Shutdown(s.ctx)
	}()
	s.draining.Store(true)
	s.fresh.Range(func(h, _ any) bool { // Shutdown would wait for those
		if _, fresh := s.fresh.LoadAndDelete(h); fresh {
			h.(*handed).cut(net.ErrClosed)
		}
		return true
	})
}

// Close cuts all connections and returns when nothing goes on any more: Serve
// returns then, too.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.open.Range(func(h, _ any) bool {
		conn.Abort(h.(*handed).socket) // before net/http ends them as if in order
		h.(*handed).cut(net.ErrClosed)
		return true
	})
	s.queue.Close()
	s.server.Close()
	s.wg.Wait()
	return nil
}

// begin counts something that goes on, to be ended by s.wg.Done. It returns false
// once s is closed.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// serveHTTP counts a request. A response that breaks off must not look complete,
// and HTTP/1.0 knows its end by that of the connection only.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.begin() {
		panic(http.ErrAbortHandler)
	}
	defer s.wg.Done()
	h, _ := r.Context().Value(handedKey{}).(*handed)
	done := false
	defer func() {
		if !done && h != nil && !r.ProtoAtLeast(1, 1) {
			conn.Abort(h)
		}
	}()
	s.o.Handler.ServeHTTP(w, r)
	if s.ctx.Err() != nil || h != nil && h.ctx.Err() != nil { // an answer that ends by that may not be whole
		panic(http.ErrAbortHandler)
	}
	done = true
}
