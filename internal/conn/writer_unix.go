//go:build unix

package conn

import (
	"io"
	"net"
	"os"
	"syscall"
)

// maxDirectWrite is the longest write that the Go scheduler is not told of, in
// bytes: one TLS record.
const maxDirectWrite = maxRecord + 512

// Writer returns what writes to c like c.Write, and is quicker for short
// messages where c is a TCP or Unix connection. It may be used concurrently.
func Writer(c net.Conn) io.Writer {
	var raw syscall.RawConn
	var err error
	switch c := c.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	}
	if raw == nil || err != nil {
		return c
	}
	return &writer{conn: c, raw: raw}
}

type writer struct {
	conn net.Conn
	raw  syscall.RawConn
}

func (w *writer) Write(p []byte) (n int, err error) {
	if len(p) == 0 || len(p) > maxDirectWrite {
		return w.conn.Write(p)
	}
	var failed error
	err = w.raw.Write(func(fd uintptr) bool {
		for n < len(p) {
			m, err := directWrite(fd, p[n:])
			switch err {
			case nil:
				n += m
			case syscall.EINTR:
			case syscall.EAGAIN:
				return false // to be called again when there is room
			default:
				failed = os.NewSyscallError("write", err)
				return true
			}
		}
		return true
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return n, named(w.conn, "write", err)
	}
	return n, nil
}
