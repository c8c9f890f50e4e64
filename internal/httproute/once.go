package httproute

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"tshx/internal/upgrade"
)

// wholeMost is the longest body that is read before it is sent, so that it shares
// a packet with the head of its request.
const wholeMost = 64 << 10

// once sends a request that must not be made twice. Where nothing of it was
// written, because the connection turned out to have ended, it goes to another
// one. net/http does that, too, but not in all cases.
func (n *pool) once(req *http.Request) (*http.Response, error) {
	again, err := bodies(req)
	if err != nil {
		return nil, err
	}
	body := again()
	for {
		var u use
		out := req.WithContext(httptrace.WithClientTrace(req.Context(), u.trace()))
		out.Body = body
		res, err := n.send(n.writes, out)
		if err == nil || !u.untouched() {
			return res, err
		}
		if body = again(); body == nil {
			return nil, err
		}
	}
}

// bodies returns what yields the body of a request, at each call from the
// beginning, or nil once some of it is lost. A short one is read now, unless the
// client waits to be asked for it.
func bodies(req *http.Request) (func() io.ReadCloser, error) {
	if req.Body == nil {
		return func() io.ReadCloser { return http.NoBody }, nil
	}
	if req.ContentLength <= 0 || req.ContentLength > wholeMost || req.Header.Get("Expect") != "" {
		b := &lazy{Reader: req.Body}
		return func() io.ReadCloser {
			if b.begun.Load() {
				return nil
			}
			return b
		}, nil
	}
	whole := make([]byte, req.ContentLength)
	if _, err := io.ReadFull(req.Body, whole); err != nil {
		return nil, fmt.Errorf("body of the request: %w", err)
	}
	return func() io.ReadCloser { return io.NopCloser(bytes.NewReader(whole)) }, nil
}

// lazy is a body that is read as it is sent. net/http sends the head before it
// reads one. Closing it does nothing: that is up to the server it comes from.
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
	next    atomic.Bool  // what is written next begins a request
	written atomic.Int64 // bytes
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

// lastWord bounds how long a write that failed waits for what the other side said
// before it hung up: mostly that has arrived already.
const lastWord = 100 * time.Millisecond

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
		if _, alert := upgrade.Alert(c.reason); alert {
			err = c.reason
		}
	case <-time.After(lastWord):
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
