package httproute

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"tshx/internal/upgrade"
)

// once sends a request that must not be made twice. Where nothing of it was
// written, because the connection turned out to have ended, it goes to another
// one. net/http does that, too, but not in all cases.
func (n *pool) once(req *http.Request) (*http.Response, error) {
	body := &lazy{Reader: req.Body}
	for {
		var u use
		out := req.WithContext(httptrace.WithClientTrace(req.Context(), u.trace()))
		if out.Body != nil {
			out.Body = body
		}
		res, err := n.send(n.writes, out)
		if err == nil || body.begun.Load() || !u.untouched() {
			return res, err
		}
	}
}

// lazy is a body that is read as it is sent, however slowly it comes: net/http
// sends the head before it reads one. Closing it does nothing: that is up to the
// server it comes from.
type lazy struct {
	io.Reader
	begun atomic.Bool
}

func (b *lazy) Read(p []byte) (int, error) {
	b.begun.Store(true)
	return b.Reader.Read(p)
}

func (*lazy) Close() error { return nil }

// use is what a request has to do with a connection.
type use struct {
	conn   *kept // nil if it got none, or a fresh one
	before int64 // bytes written to it by then
}

func (u *use) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) { u.conn = nil },
		GotConn: func(i httptrace.GotConnInfo) {
			if i.Reused {
				u.conn = i.Conn.(*kept)
				u.before = u.conn.written.Load()
				u.conn.next.Store(true)
			}
		},
	}
}

// untouched reports whether nothing of the request was written, to a connection
// that had served others before: a fresh one that fails would do so again.
func (u *use) untouched() bool { return u.conn != nil && u.conn.written.Load() == u.before }

// kept is a connection to the proxy that serves one request after another.
type kept struct {
	net.Conn
	broken  func()        // called when it breaks
	ended   chan struct{} // closed when a read has failed, by reason
	reason  error
	closing sync.Once
	closed  chan struct{} // by Close, after which nobody reads
	next    atomic.Bool   // what is written next begins a request
	written atomic.Int64  // bytes
}

func (c *kept) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && c.reason == nil { // there is one reader
		c.reason = err
		close(c.ended)
		// Those that lie beside it may be as dead, and each would take its time to tell.
		if err != io.EOF && !errors.Is(err, net.ErrClosed) {
			c.broken()
		}
	}
	return n, err
}

func (c *kept) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// lastWord bounds how long a write that failed waits for what the other side said
// before it hung up: mostly that has arrived already, and a busy machine has yet to
// read it. The end of reading ends the wait.
const lastWord = 2 * time.Second

// Write begins no request where the other side has ended: it could not answer. An
// alert is the reason why one failed.
func (c *kept) Write(p []byte) (int, error) {
	if c.next.Swap(false) && (c.hasEnded() || peerEnded(c.Conn)) {
		return 0, io.ErrClosedPipe
	}
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	if err == nil {
		return n, nil
	}
	select {
	case <-c.ended:
	case <-c.closed:
	case <-time.After(lastWord):
	}
	if c.hasEnded() {
		if _, alert := upgrade.Alert(c.reason); alert {
			err = c.reason
		}
	}
	return n, err
}

func (c *kept) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}
