package accept

import (
	"net"
	"sync"

	"tshx/internal/conn"
)

// Set tracks connections from Go until they are closed, whoever closes them:
// also those that an HTTP server has let go by a hijack, which
// http.Server.Shutdown forgets. The zero Set is ready. Its methods may be
// called from any goroutine.
type Set struct {
	mu     sync.Mutex
	open   map[*tracked]struct{}
	closed bool
	wg     sync.WaitGroup
}

// Go calls serve in a new goroutine with c, which serve must close, and tracks
// it. On a closed Set it closes c.
func (s *Set) Go(c net.Conn, serve func(net.Conn)) {
	t := &tracked{Conn: c, set: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return
	}
	if s.open == nil {
		s.open = make(map[*tracked]struct{})
	}
	s.open[t] = struct{}{}
	s.wg.Go(func() { serve(t) })
}

// Len returns the number of connections that are open.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// CloseConns closes the open connections; new ones are still welcome.
func (s *Set) CloseConns() {
	for _, t := range s.list(false) {
		t.Close()
	}
}

// Close closes the open connections and all that follow.
func (s *Set) Close() {
	for _, t := range s.list(true) {
		t.Close()
	}
}

// Wait returns when every serve function has returned.
func (s *Set) Wait() { s.wg.Wait() }

func (s *Set) list(last bool) []*tracked {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = s.closed || last
	list := make([]*tracked, 0, len(s.open))
	for t := range s.open {
		list = append(list, t)
	}
	return list
}

type tracked struct {
	net.Conn
	set *Set
}

func (t *tracked) Close() error {
	t.set.mu.Lock()
	delete(t.set.open, t)
	t.set.mu.Unlock()
	return t.Conn.Close()
}

func (t *tracked) CloseWrite() error { return conn.CloseWrite(t.Conn) }

// NetConn returns the connection beneath, as tls.Conn.NetConn does.
func (t *tracked) NetConn() net.Conn { return t.Conn }
