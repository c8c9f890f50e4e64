package main

import (
	"context"
	"io"
	"net"
	"strconv"
)

// ports are those of this machine's loopback.
type ports struct{}

// PortForward joins stream and 127.0.0.1:port until the server has ended. The
// end of what the client sends becomes a half-close.
func (ports) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(localhost, strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer c.Close()
	go func() {
		if _, err := io.Copy(c, stream); err != nil {
			c.Close()
			return
		}
		c.(*net.TCPConn).CloseWrite() // the server may be gone
	}()
	_, err = io.Copy(stream, c)
	return err
}
