package upgrade

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tshx/internal/conn"
	"tshx/internal/plain"
)

// headerUpgrade repeats the kind for balancers that rewrite the Upgrade header.
const headerUpgrade = "X-Teleport-Upgrade"

// maxAnswer bounds what is read of an answer to an upgrade request, in bytes.
const maxAnswer = 32 << 10

// maxRefusal bounds what is read of a refusal's body, in bytes; refusalWait
// bounds how long.
const (
	maxRefusal  = 1 << 10
	refusalWait = time.Second
)

var (
	errLongAnswer = errors.New("the header of the answer is too long")
	errNoAnswer   = errors.New("closed the connection without an answer")
)

// connectLegacy asks for the kind itself (docs/protocol.md, "Request") over the
// prepared outer connection c. The caller bounds it, and closes c on failure.
func (t Target) connectLegacy(c net.Conn, kind Kind) (net.Conn, error) {
	req := &http.Request{
		Method: http.MethodGet,
		URL:    &url.URL{Path: Path},
		Host:   t.Addr,
		Header: http.Header{
			"User-Agent":  {userAgent},
			"Upgrade":     {string(kind)},
			"Connection":  {"Upgrade"},
			headerUpgrade: {string(kind)},
		},
	}
	if err := req.Write(c); err != nil {
		return nil, fmt.Errorf("legacy upgrade at %s: %w", t.Addr, err)
	}
	limited := &io.LimitedReader{R: c, N: maxAnswer}
	br := bufio.NewReader(limited)
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		if limited.N <= 0 {
			err = errLongAnswer
		}
		return nil, fmt.Errorf("legacy upgrade at %s: %w", t.Addr, answerError(err))
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		c.SetReadDeadline(time.Now().Add(refusalWait))
		return nil, newRefused(t.Addr, kind, Legacy, resp)
	}
	if !hasToken(resp.Header, "Upgrade", string(kind)) {
		refused := newRefused(t.Addr, kind, Legacy, resp)
		refused.Reason = fmt.Sprintf("switched to %q instead of %q", plain.Line(resp.Header.Get("Upgrade"), 40), kind)
		return nil, refused
	}
	ahead, _ := br.Peek(br.Buffered())
	stream := conn.Buffered(c, ahead)
	if kind == ALPNPing {
		pc := NewPingClient(stream)
		pc.pinged = t.Pinged
		return pc, nil
	}
	return stream, nil
}

// hasToken reports whether a comma-separated header holds the token, in any
// case (RFC 9110, section 5.6.1).
func hasToken(h http.Header, key, token string) bool {
	for v := range headerTokens(h, key) {
		if strings.EqualFold(v, token) {
			return true
		}
	}
	return false
}

// headerTokens yields the members of a header's lists in their order.
func headerTokens(h http.Header, key string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range h.Values(key) {
			for v := range strings.SplitSeq(line, ",") {
				if v = strings.TrimSpace(v); v != "" && !yield(v) {
					return
				}
			}
		}
	}
}

// answerError explains why no HTTP answer could be read. The parser's errors
// quote what was sent, which may be long and hold anything.
func answerError(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", errNoAnswer, io.ErrUnexpectedEOF)
	case conn.PeerGone(err):
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, net.ErrClosed) {
		return err
	}
	return errors.New(plain.Line(err.Error(), 160))
}
