package conn

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
)

// buffers lends what is read into, for as long as it holds something.
var buffers = sync.Pool{New: func() any { b := make([]byte, batchSize); return &b }}

// errNotNow is what a read returns that would have to wait. It is temporary, so
// that crypto/tls carries on behind it.
var errNotNow error = notNow{}

type notNow struct{}

func (notNow) Error() string   { return "nothing to read now" }
func (notNow) Timeout() bool   { return true }
func (notNow) Temporary() bool { return true }

// Polled is a layer on a connection that can be read without waiting: when a
// read beneath ends with an error that is temporary (net.Error), it returns that
// error and can be read on afterwards. Polled returns the connection beneath, or
// nil as long as the layer cannot be read so.
type Polled interface {
	Polled() net.Conn
}

// Watched is a layer on a socket through which reading goes without a change,
// but for the errors, which ReadError would have returned in the place of err.
type Watched interface {
	NetConn() net.Conn
	ReadError(err error) error
}

// source reads a connection into buffers that it takes only when there is
// something to read.
type source struct {
	io.Reader
	ahead *buffered // in front of sock
	sock  *socket   // the connection is a socket
	below *Batch    // otherwise: the one that reads the socket; nil if there is none
}

func newSource(r io.Reader) *source {
	s := &source{Reader: r}
	c, ok := r.(net.Conn)
	if !ok {
		return s
	}
	if b, ok := c.(*buffered); ok {
		if sock := newSocket(b.Conn); sock != nil {
			s.ahead, s.sock = b, sock
			return s
		}
	}
	s.sock = newSocket(c)
	return s
}

// lowest returns the Batch that reads the socket below c.
func lowest(c net.Conn) *Batch {
	for {
		switch l := c.(type) {
		case *Batch:
			if l.sock != nil {
				return l
			}
			c = l.Conn
		case *tls.Conn:
			c = l.NetConn()
		case Polled:
			c = l.Polled()
		default:
			return nil
		}
	}
}

// polled returns below. A Polled may not know at first what it stands on.
func (s *source) polled() *Batch {
	if c, ok := s.Reader.(net.Conn); ok && s.below == nil {
		s.below = lowest(c)
	}
	return s.below
}

// next waits for bytes. The caller gives buf back to buffers unless it is nil.
// Bytes and an error may come together.
func (s *source) next() (buf *[]byte, n int, err error) {
	switch {
	case s.sock != nil && (s.ahead == nil || len(s.ahead.ahead) == 0):
		return s.sock.read(true)
	case s.polled() == nil:
		buf = buffers.Get().(*[]byte)
		n, err = s.Read(*buf)
		return buf, n, err
	}
	for {
		buf, n, err = s.now()
		if n > 0 || err != nil {
			return buf, n, err
		}
		s.below.fill(true)
	}
}

// now reads all that has come, up to the size of a buffer. It takes no buffer
// with it when there is nothing.
func (s *source) now() (buf *[]byte, n int, err error) {
	buf = buffers.Get().(*[]byte)
	s.below.nowait = true
	defer func() { s.below.nowait = false }()
	for n < len(*buf) && err == nil {
		var m int
		m, err = s.Read((*buf)[n:])
		n += m
	}
	if err == errNotNow {
		err = nil
	}
	if n == 0 {
		buffers.Put(buf)
		buf = nil
	}
	return buf, n, err
}
