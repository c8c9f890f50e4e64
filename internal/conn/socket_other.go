//go:build !unix

package conn

import (
	"errors"
	"io"
	"net"
)

// socket is not here: a read cannot look without waiting, so that a connection
// keeps its buffers while it is idle.
type socket struct{}

func newSocket(net.Conn) *socket { return nil }

func (*socket) read(bool) (*[]byte, int, error) { return nil, 0, errors.ErrUnsupported }

// Writer returns c.
func Writer(c net.Conn) io.Writer { return c }
