// Package conn moves bytes between two streams and ends them cleanly.
//
//	stats, err := conn.Splice(ctx, client, upstream)
//
// It copies in both directions, passes half-closes on and bounds how long a
// half-closed pair may sit idle. It neither dials nor accepts, knows no
// protocol, and never logs: what happened is in the returned Stats and error.
package conn

import (
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"time"
)

// Linger is how long Splice keeps a connection of which one direction has
// ended while the other one moves no byte. Each byte starts it anew.
const Linger = 30 * time.Second

// lingerSlow times Linger is how long such a connection waits for a reader that
// takes no byte.
const lingerSlow = 10

// Stats counts what one spliced connection carried.
type Stats struct {
	Sent     int64         // bytes from the local side to the remote side
	Received int64         // bytes from the remote side to the local side
	Duration time.Duration // from the start of the splice to the end of both directions
	// RemoteFirst says that the remote side's stream ended, or took no more, before
	// the local's ended.
	RemoteFirst bool
}

// CloseWriter is the half-close that TCP, TLS and SSH streams share: no more
// bytes will follow, reading goes on.
type CloseWriter interface {
	CloseWrite() error
}

// Stream is a connection that can half-close. *net.TCPConn, *tls.Conn and
// ssh.Channel are Streams.
type Stream interface {
	io.ReadWriteCloser
	CloseWriter
}

// CloseWrite half-closes c where it can, and does nothing where it cannot: a
// full close there would cut off the other direction.
func CloseWrite(c any) error {
	if cw, ok := c.(CloseWriter); ok {
		return cw.CloseWrite()
	}
	return nil
}

// Orderly reports whether err is how a connection usually ends (end of stream,
// closed here) and so says nothing to a user. Resets are not orderly.
func Orderly(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

// ErrClientGone says that a client left before it had said what it wanted. That
// is no failure of ours.
var ErrClientGone = errors.New("the client left")

// PeerGone reports whether err says that the other end has reset the
// connection or stopped reading from it. ENOTCONN is what shutdown(2) says then.
func PeerGone(err error) bool {
	return isErrno(err, peerGone)
}

// AddrInUse reports whether err says that somebody else listens there.
func AddrInUse(err error) bool { return isErrno(err, addrInUse) }

// Refused reports whether err says that nobody listens there.
func Refused(err error) bool { return isErrno(err, refused) }

func isErrno(err error, list []syscall.Errno) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) && slices.Contains(list, errno)
}
