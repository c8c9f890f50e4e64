//go:build unix

package conn

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// maxDirect is after how many reads that got something the Go scheduler is told
// of one: its monitor sees to it that a stream without a pause does not keep the
// other goroutines waiting.
const maxDirect = 16

// socket reads a TCP or Unix connection and takes a buffer only when something
// has arrived. It belongs to one goroutine at a time.
type socket struct {
	conn net.Conn
	raw  syscall.RawConn
	try  func(fd uintptr) bool // s.attempt, bound once
	// explain gives errors the words of a Watched connection. May be nil.
	explain func(error) error

	wait   bool
	streak int // reads since the last that found nothing
	buf    *[]byte
	n      int
	err    error
}

// newSocket returns nil where c is no socket.
func newSocket(c net.Conn) *socket {
	var raw syscall.RawConn
	var err error
	switch c := c.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	case Watched:
		s := newSocket(c.NetConn())
		if s != nil {
			s.explain = c.ReadError
		}
		return s
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	s := &socket{conn: c, raw: raw}
	s.try = s.attempt
	return s
}

// read reads as much as a buffer holds, of buffers, which the caller gives back
// if it is not nil. Without wait the error may be errNotNow. Others are those
// of net.Conn; with an error there are no bytes.
func (s *socket) read(wait bool) (*[]byte, int, error) {
	s.wait, s.buf, s.n, s.err = wait, nil, 0, nil
	err := s.raw.Read(s.try)
	buf, n := s.buf, s.n
	s.buf = nil
	switch {
	case err != nil: // closed here, or a deadline
		err = s.said(err)
	case s.err == syscall.EAGAIN:
		err = errNotNow
	case s.err != nil:
		err = s.said(os.NewSyscallError("read", s.err))
	case n == 0:
		err = io.EOF
	default:
		return buf, n, nil
	}
	if buf != nil {
		buffers.Put(buf)
	}
	return nil, 0, err
}

// attempt reports false to be called again when there is something to read.
func (s *socket) attempt(fd uintptr) bool {
	s.buf = buffers.Get().(*[]byte)
	for {
		if s.streak++; s.streak%maxDirect != 0 {
			s.n, s.err = directRead(fd, *s.buf)
		} else {
			s.n, s.err = syscall.Read(int(fd), *s.buf)
		}
		if s.err != syscall.EINTR {
			break
		}
	}
	if s.err == nil {
		return true
	}
	s.streak = 0
	buffers.Put(s.buf)
	s.buf, s.n = nil, 0
	return s.err != syscall.EAGAIN || !s.wait
}

// said makes err what Read of the connection would have returned.
func (s *socket) said(err error) error {
	if s.explain != nil {
		if said := s.explain(bare(err)); said != bare(err) {
			return said
		}
	}
	return named(s.conn, "read", err)
}

// bare is err without what package net says around it.
func bare(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// named makes err what an operation on c would have returned.
func named(c net.Conn, op string, err error) error {
	local := c.LocalAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: c.RemoteAddr(), Err: bare(err)}
}
