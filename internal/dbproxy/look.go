package dbproxy

import (
	"context"
	"fmt"
	"net"
	"time"

	"tshx/internal/conn"
)

// Bounds of the look at a client.
const (
	lookBytes = 4 << 10 // more than enough to know a protocol
	// lookTime is how long a client that must speak first is waited for once its
	// upstream is there. Nothing is lost by it: neither side would move.
	lookTime = time.Second
	// lookServerFirst is how long one is waited for that should wait for the
	// server, from its connection on: what it hears first it takes for an answer. A
	// dial takes longer as a rule.
	lookServerFirst = 3 * time.Millisecond
)

// look reads what a client sends while its upstream is being dialled.
type look struct {
	client net.Conn
	done   chan struct{} // closed when the fields below are final
	first  []byte
	err    error // the client has left, or gets nowhere: *MismatchError, *WebPageError
}

// lookAt starts to read. wrong is called when the client can get nowhere.
func (u *Upstream) lookAt(client net.Conn, wrong func(error)) *look {
	l := &look{client: client, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.first, l.err = u.listen(client)
		if l.err != nil {
			wrong(l.err)
		}
	}()
	return l
}

// listen returns a client's first bytes and why the client can get nowhere.
func (u *Upstream) listen(client net.Conn) ([]byte, error) {
	first, err := u.words(client)
	if err != nil {
		return nil, fmt.Errorf("%w before its first message: %w", conn.ErrClientGone, err)
	}
	if err := u.judge(first); err != nil {
		return first, err
	}
	return first, u.judgePage(client, first)
}

// words reads once, which is enough in practice: a client's first message
// arrives in one piece. Only where web pages are kept out it reads on to the end
// of what may be a request's head. The end of a stream is found again by the next reader; an
// error is not, and must not look like the end.
func (u *Upstream) words(client net.Conn) ([]byte, error) {
	var first []byte
	buf := make([]byte, lookBytes)
	for {
		n, err := client.Read(buf)
		first = append(first, buf[:n]...)
		switch {
		case err != nil && !conn.Orderly(err) && !isTimeout(err):
			return first, err
		case err != nil, !u.keepsPagesOut(client), !mayBeRequest(first), headEnds(first), len(first) >= httpHead:
			return first, nil
		}
	}
}

// end stops the reading, at once or after grace, and returns the client with
// its bytes replayed, and why it can get nowhere.
func (l *look) end(ctx context.Context, grace time.Duration) (net.Conn, error) {
	if grace > 0 {
		select {
		case <-l.done:
		case <-ctx.Done():
		case <-time.After(grace):
		}
	}
	l.client.SetReadDeadline(time.Unix(1, 0))
	<-l.done
	l.client.SetReadDeadline(time.Time{})
	return conn.Buffered(l.client, l.first), l.err
}
