package httproute

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"tshx/internal/conn"
	"tshx/internal/tlsroute"
)

// switched is the body of a response that changed the protocol. The connection
// replays what came behind the response.
type switched struct {
	io.ReadCloser
	upstream net.Conn
}

// switchedError is how a changed protocol gets past httputil.ReverseProxy, which
// would end a broken stream like one that is complete.
type switchedError struct {
	res      *http.Response
	upstream net.Conn
}

func (*switchedError) Error() string { return "the protocol has changed" }

// upgrade sends a request that asks for another protocol on a connection of its
// own: it must not meet one that was idle for too long, since nobody could repeat
// it.
func (u *Upstream) upgrade(req *http.Request, route tlsroute.Route) (*http.Response, error) {
	ctx := req.Context()
	up, err := u.dial(ctx, route)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { up.Close() })
	br := bufio.NewReader(up)
	res, err := exchange(up, br, req)
	switch {
	case err != nil:
	case res.StatusCode != http.StatusSwitchingProtocols:
		res.Body = &lastBody{res.Body, up, stop}
		return res, nil
	case !stop():
		err = context.Cause(ctx)
	default:
		early, _ := br.Peek(br.Buffered())
		res.Body = &switched{res.Body, conn.Buffered(up, early)}
		return res, nil
	}
	stop()
	up.Close()
	return nil, err
}

// exchange writes req and reads its response.
func exchange(up net.Conn, br *bufio.Reader, req *http.Request) (*http.Response, error) {
	if err := req.Write(up); err != nil {
		return nil, err
	}
	for {
		res, err := http.ReadResponse(br, req)
		if err != nil {
			return nil, fmt.Errorf("answer to an upgrade: %w", err)
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			want, got := req.Header.Get("Upgrade"), res.Header.Get("Upgrade")
			if !strings.EqualFold(want, got) {
				return nil, fmt.Errorf("asked for the protocol %q, and got %q", want, got)
			}
		}
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, nil
		}
	}
}

// lastBody is the body of the only response on a connection.
type lastBody struct {
	io.ReadCloser
	upstream net.Conn
	stop     func() bool
}

func (l *lastBody) Close() error {
	l.stop()
	err := l.ReadCloser.Close()
	l.upstream.Close()
	return err
}

// join passes the response to the client, and from then on bytes both ways. It
// returns an error where the client's connection cannot be had.
func (u *Upstream) join(w http.ResponseWriter, r *http.Request, s *switchedError) error {
	client, buffers, err := http.NewResponseController(w).Hijack()
	if err != nil {
		conn.Abort(s.upstream)
		return err
	}
	early, _ := buffers.Reader.Peek(buffers.Reader.Buffered())
	client = conn.Buffered(client, early)
	if err := s.res.Write(client); err != nil {
		conn.Abort(client)
		client.Close()
		conn.Abort(s.upstream)
		return nil
	}
	stats, err := conn.Splice(r.Context(), client, s.upstream)
	u.o.Log.Debug("stream ended", "route", u.o.Route.Name, "protocol", s.res.Header.Get("Upgrade"),
		"sent", stats.Sent, "received", stats.Received, "dur", stats.Duration, "err", err)
	return nil
}
