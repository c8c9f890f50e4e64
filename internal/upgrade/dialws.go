package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/websocket"

	"tshx/internal/plain"
)

// wsHandshakeBuffer is the size of what gorilla/websocket reads and writes a
// handshake with, in bytes.
const wsHandshakeBuffer = 1 << 10

// connectWebSocket asks for a WebSocket (RFC 6455, section 4.1) with kind as
// its subprotocol over the prepared outer connection. The request has the plain
// WebSocket headers only, because balancers refuse mixed ones. The caller
// bounds it; a failure closes below.
func (t Target) connectWebSocket(ctx context.Context, below net.Conn, kind Kind) (net.Conn, error) {
	w := &wire{Conn: below, left: maxAnswer}
	d := websocket.Dialer{
		NetDialTLSContext: func(context.Context, string, string) (net.Conn, error) { return w, nil },
		Subprotocols:      []string{string(kind)},
		ReadBufferSize:    wsHandshakeBuffer,
		WriteBufferSize:   wsHandshakeBuffer,
	}
	u := url.URL{Scheme: "wss", Host: t.Addr, Path: Path}
	_, resp, err := d.DialContext(ctx, u.String(), http.Header{"User-Agent": {userAgent}})
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && resp != nil:
		refused := newRefused(t.Addr, kind, WebSocket, resp)
		refused.Reason = handshakeFault(resp)
		return nil, refused
	case err != nil:
		return nil, fmt.Errorf("websocket upgrade at %s: %w", t.Addr, answerError(err))
	}
	if fault := agreementFault(resp, kind); fault != "" {
		below.Close()
		refused := newRefused(t.Addr, kind, WebSocket, resp)
		refused.Reason = fault
		return nil, refused
	}
	if err := w.Conn.SetReadDeadline(time.Time{}); err != nil {
		below.Close()
		return nil, fmt.Errorf("websocket upgrade at %s: %w", t.Addr, err)
	}
	c := newWSConn(w.stream(), true)
	c.pinged = t.Pinged
	return c, nil
}

// handshakeFault says what is wrong with a 101 that gorilla/websocket did not
// take (RFC 6455, section 4.1), and nothing about other answers.
func handshakeFault(resp *http.Response) string {
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return ""
	case !hasToken(resp.Header, "Upgrade", "websocket"):
		return fmt.Sprintf("switched to %q instead of \"websocket\"", plain.Line(resp.Header.Get("Upgrade"), 40))
	case !hasToken(resp.Header, "Connection", "Upgrade"):
		return "without Connection: Upgrade"
	}
	return "its Sec-WebSocket-Accept does not match the request"
}

// agreementFault says what a valid handshake agreed on that was not asked for.
func agreementFault(resp *http.Response, kind Kind) string {
	if got := resp.Header.Values("Sec-WebSocket-Protocol"); len(got) != 1 || got[0] != string(kind) {
		return fmt.Sprintf("its subprotocol is %q instead of %q", plain.Line(resp.Header.Get("Sec-WebSocket-Protocol"), 40), kind)
	}
	if ext := resp.Header.Get("Sec-WebSocket-Extensions"); ext != "" {
		return fmt.Sprintf("it uses the extension %q unasked", plain.Line(ext, 40))
	}
	return ""
}
