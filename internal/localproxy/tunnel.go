package localproxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"tshx/internal/conn"
)

// Tunnel is a Handler that joins each connection to one dialled upstream.
type Tunnel struct {
	// Dial opens the upstream for the accepted connection. It may read from
	// client what it needs to choose and must then return a connection that
	// replays those bytes, also when it fails. A failed one leaves client open;
	// its cl may be nil if nothing was read.
	Dial func(ctx context.Context, client net.Conn) (cl, upstream net.Conn, err error)
	// Failed is called before client is closed when Dial fails, and when Check
	// returns an error. It may tell the client why, in the client's own protocol;
	// client replays what it has said, and the end of the context breaks it. It
	// is not called when the context has ended. Nil does nothing.
	Failed func(client net.Conn, err error)
	// Report is told about each failed connection. Nil logs only.
	Report func(err error)
	// Check judges an upstream that has ended before it sent a byte and before
	// the client ended its side: an error is a failure. head is what the client
	// has sent, up to its first 4 KiB. Nil takes the end for what it seems.
	Check func(head []byte) error
	// Opened is called for each accepted connection before its dial, Closed at
	// its end. Nil does nothing.
	Opened func(Connection)
	Closed func(Connection, End)
	Route  string // for logs
	Log    *slog.Logger

	serial atomic.Int64
}

// Connection is one accepted connection, for the hooks of a Tunnel.
type Connection struct {
	ID     int64 // counts from 1
	Client net.Addr
}

// End is how a connection went.
type End struct {
	conn.Stats        // Duration is that of the dial if there was no upstream
	Reason     Reason // one of the constants
	Err        error  // nil if it ended in order
}

// Reason says in one word why a connection has ended. The words are stable.
type Reason string

const (
	EOF           Reason = "eof"            // both directions ended in order
	ClientGone    Reason = "client_gone"    // the client reset it or left early
	UpstreamError Reason = "upstream_error" // the proxy's side broke
	Refused       Reason = "refused"        // no upstream, or one that ended without an answer
	Drain         Reason = "drain"          // cut by the end of a drain
	Failure       Reason = "error"          // anything else
)

// ServeConn implements Handler. A failed dial ends this connection only.
func (t *Tunnel) ServeConn(ctx context.Context, client net.Conn) {
	id := Connection{ID: t.serial.Add(1), Client: client.RemoteAddr()}
	if t.Opened != nil {
		t.Opened(id)
	}
	end := t.serve(ctx, client)
	client.Close()
	if t.Closed != nil {
		t.Closed(id, end)
	}
	t.log().Debug("connection ended", "conn", id.ID, "route", t.Route, "remote", id.Client.String(),
		"sent", end.Sent, "received", end.Received, "dur", end.Duration, "reason", end.Reason, "err", end.Err)
	switch end.Reason {
	case Refused, UpstreamError, Failure:
		if t.Report != nil && ctx.Err() == nil {
			t.Report(end.Err)
		}
	}
}

func (t *Tunnel) serve(ctx context.Context, client net.Conn) End {
	start := time.Now()
	cl, upstream, err := t.Dial(ctx, client)
	if err != nil {
		end := End{Stats: conn.Stats{Duration: time.Since(start)}, Reason: dialReason(ctx, err), Err: err}
		if cl == nil {
			cl = client
		}
		t.refuse(ctx, cl, err)
		return end
	}
	var refused error
	o := conn.Options{}
	if t.Check != nil {
		o.Unanswered = func(client net.Conn) {
			head := sent(client)
			if refused = t.Check(head); refused != nil {
				t.refuse(ctx, conn.Buffered(client, head), refused)
			}
		}
	}
	st, err := conn.SpliceWith(ctx, cl, upstream, o)
	if refused != nil { // however the directions ended
		return End{Stats: st, Reason: Refused, Err: refused}
	}
	return End{Stats: st, Reason: reason(st, err), Err: err}
}

// refuse lets Failed tell a client, for as long as ctx has not ended.
func (t *Tunnel) refuse(ctx context.Context, client net.Conn, err error) {
	if t.Failed == nil || ctx.Err() != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { conn.Abort(client) })
	defer stop()
	t.Failed(client, err)
}

// sent returns what client replays, without waiting for more.
func sent(client net.Conn) []byte {
	client.SetReadDeadline(time.Unix(1, 0)) // long past; a replay does not mind
	defer client.SetReadDeadline(time.Time{})
	head, _ := io.ReadAll(client) // ends by the deadline
	return head
}

func dialReason(ctx context.Context, err error) Reason {
	switch {
	case ctx.Err() != nil:
		return Drain
	case errors.Is(err, conn.ErrClientGone):
		return ClientGone
	}
	return Refused
}

func reason(st conn.Stats, err error) Reason {
	var side *conn.SideError
	switch {
	case conn.Orderly(err):
		return EOF
	case errors.Is(err, ErrCut):
		return Drain
	case clientGone(st, err):
		return ClientGone
	case errors.As(err, &side) && side.Remote:
		return UpstreamError
	}
	return Failure
}

// clientGone reports whether a connection failed for no other reason than that
// the client went away, or went first.
func clientGone(st conn.Stats, err error) bool {
	var side *conn.SideError
	broken := conn.PeerGone(err) || errors.Is(err, io.ErrUnexpectedEOF)
	return broken && (!st.RemoteFirst || errors.As(err, &side) && !side.Remote)
}

func (t *Tunnel) log() *slog.Logger {
	if t.Log != nil {
		return t.Log
	}
	return slog.New(slog.DiscardHandler)
}
