// Package localproxy keeps a loopback listener alive and hands each connection
// to a Handler.
//
//	ln, err := localproxy.Listen("127.0.0.1:0", false)
//	fmt.Println(ln.Addr())
//	err = (&localproxy.Server{Handler: h}).Serve(ctx, ln)
//
// It owns the lifetime: a failed connection ends alone, a full descriptor
// table is waited out, and a cancelled context drains. It knows no protocol.
package localproxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"tshx/internal/accept"
)

// DrainTimeout is how long Serve lets open connections go on after its context
// has ended.
const DrainTimeout = 10 * time.Second

// ErrCut is the cause of the context of a connection that outlived the drain.
var ErrCut = errors.New("closed: the drain took too long")

// Handler serves one accepted connection. ServeConn owns c and closes it. It
// returns when the connection is done or soon after ctx has ended. It is called
// concurrently.
type Handler interface {
	ServeConn(ctx context.Context, c net.Conn)
}

// Server serves one listener.
type Server struct {
	Handler Handler
	// Admit says whether an accepted connection may come in. It is called in
	// the connection's own goroutine, before the Handler and in its place where
	// it returns an error: then the connection is reset. Nil lets all in.
	Admit func(net.Conn) error
	// Drain bounds the wait for open connections after ctx has ended. Zero
	// means DrainTimeout.
	Drain time.Duration
	// Draining is called once when the drain begins with connections still
	// open, Cut when it ends with some. Nil does nothing.
	Draining, Cut func(open int)
	Log           *slog.Logger

	open    atomic.Int64
	refused atomic.Int64
}

// Refused returns how many connections Admit has refused so far.
func (s *Server) Refused() int { return int(s.refused.Load()) }

// Serve accepts until ctx ends, then closes ln, waits for the open connections
// and cuts those that outlive the drain. It returns nil after a drain, and
// net.ErrClosed if somebody else has closed the listener.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	conns, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)

	var wg sync.WaitGroup
	err := accept.Loop(ctx, &warned{Listener: ln, log: s.log()}, func(c net.Conn) {
		s.open.Add(1)
		wg.Go(func() {
			defer s.open.Add(-1)
			if s.admitted(c) {
				s.Handler.ServeConn(conns, c)
			}
		})
	})
	if err == nil && ctx.Err() == nil {
		err = net.ErrClosed // by somebody else
	}
	if open := int(s.open.Load()); open > 0 && s.Draining != nil {
		s.Draining(open)
	}
	drain := s.Drain
	if drain == 0 {
		drain = DrainTimeout
	}
	timer := time.AfterFunc(drain, func() {
		if open := int(s.open.Load()); open > 0 && s.Cut != nil {
			s.Cut(open)
		}
		cut(ErrCut)
	})
	defer timer.Stop()
	wg.Wait()
	return err
}

// warned says why a listener pauses, at most once in warnEvery: a full table of
// descriptors lets one connection in now and then, and fails again.
type warned struct {
	net.Listener
	log  *slog.Logger
	next time.Time
}

const warnEvery = 10 * time.Second

// Accept is not to be called concurrently.
func (l *warned) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil || errors.Is(err, net.ErrClosed) {
		return c, err
	}
	level := slog.LevelDebug
	if now := time.Now(); !now.Before(l.next) {
		level = slog.LevelWarn
		l.next = now.Add(warnEvery)
	}
	l.log.Log(context.Background(), level, "accept failed, trying again", "err", err)
	return c, err
}

func (s *Server) log() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.New(slog.DiscardHandler)
}
