package localproxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"

	"tshx/internal/conn"
)

// Tunnel is a Handler that joins each connection to one dialled upstream.
type Tunnel struct {
	// Dial opens the upstream for the accepted connection. It may read from
	// client what it needs to choose and must then return a connection that
	// replays those bytes. When it fails it leaves client open.
	Dial func(ctx context.Context, client net.Conn) (cl, upstream net.Conn, err error)
	// Failed is called when Dial fails, before the client is closed. It may
	// tell the client why, in the client's own protocol. Nil does nothing.
	Failed func(client net.Conn, err error)
	// Report is told about each failed connection. Nil logs only.
	Report func(err error)
	// Check judges a connection that has ended in order: an error is a failure
	// after all. Nil takes it for what it seems.
	Check func(conn.Stats) error
	Route string // for logs
	Log   *slog.Logger

	serial atomic.Int64
}

// ServeConn implements Handler. A failed dial ends this connection only.
func (t *Tunnel) ServeConn(ctx context.Context, client net.Conn) {
	log := t.log().With("conn", t.serial.Add(1), "route", t.Route)
	defer client.Close()
	cl, upstream, err := t.Dial(ctx, client)
	if err != nil {
		if t.Failed != nil {
			t.Failed(client, err)
		}
		log.Debug("dial failed", "remote", client.RemoteAddr().String(), "err", err)
		t.report(ctx, err)
		return
	}
	st, err := conn.Splice(ctx, cl, upstream)
	if err == nil && t.Check != nil {
		err = t.Check(st)
	}
	log.Debug("connection ended", "remote", client.RemoteAddr().String(), "sent", st.Sent, "received", st.Received, "dur", st.Duration, "err", err)
	if !conn.Orderly(err) && !clientGone(st, err) {
		t.report(ctx, err)
	}
}

// clientGone reports whether a connection failed for no other reason than that
// the client went away, or went first.
func clientGone(st conn.Stats, err error) bool {
	var side *conn.SideError
	broken := conn.PeerGone(err) || errors.Is(err, io.ErrUnexpectedEOF)
	return broken && (!st.RemoteFirst || errors.As(err, &side) && !side.Remote)
}

// report passes on what is worth telling: not what a drain cut, nor that a
// client has left.
func (t *Tunnel) report(ctx context.Context, err error) {
	if t.Report != nil && ctx.Err() == nil && !errors.Is(err, conn.ErrClientGone) {
		t.Report(err)
	}
}

func (t *Tunnel) log() *slog.Logger {
	if t.Log != nil {
		return t.Log
	}
	return slog.New(slog.DiscardHandler)
}
