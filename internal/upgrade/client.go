package upgrade

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"tshx/internal/conn"
	"tshx/internal/trust"
)

// userAgent is sent because some firewalls refuse requests without one.
const userAgent = "tshx"

// Connect opens a stream through an upgraded HTTP connection. ctx bounds the
// set-up only; TLS, request and answer together take at most HandshakeTimeout
// per attempt. The caller closes the stream; nothing stays open on failure.
//
// Auto asks for WebSocket and, on a fresh connection, for Legacy when the
// answer is a refusal that another method can change. The method that worked is
// returned, to be asked for directly the next time.
//
// A refusal is a *RefusedError, of both methods an *AttemptsError. No byte is
// sent between the request and the end of the answer's header, and none behind
// it is lost: the stream may hold bytes already.
func (t Target) Connect(ctx context.Context, kind Kind, method Method) (net.Conn, Method, error) {
	if kind != ALPN && kind != ALPNPing {
		return nil, Auto, fmt.Errorf("unknown kind of connection upgrade %q", kind)
	}
	switch method {
	case WebSocket, Legacy:
		c, err := t.attempt(ctx, kind, method)
		if err != nil {
			return nil, Auto, err
		}
		return c, method, nil
	case Auto:
	default:
		return nil, Auto, fmt.Errorf("unknown method of connection upgrade %q", method)
	}
	c, first := t.attempt(ctx, kind, WebSocket)
	if first == nil {
		return c, WebSocket, nil
	}
	if !MethodRefused(first) {
		return nil, Auto, first
	}
	c, second := t.attempt(ctx, kind, Legacy)
	if second != nil {
		return nil, Auto, &AttemptsError{WebSocket: first, Legacy: second}
	}
	return c, Legacy, nil
}

// MethodRefused reports whether a failed Connect says nothing about the other
// method. Old proxies answer 404, balancers whatever they like, and
// some firewalls only hang up; a rate limit holds for every method, and a broken
// 101 is no refusal.
func MethodRefused(err error) bool {
	if errors.Is(err, errNoAnswer) {
		return true
	}
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok {
		return false
	}
	return refused.Status != http.StatusTooManyRequests && refused.Status != http.StatusSwitchingProtocols
}

// attempt does one upgrade on a connection of its own.
func (t Target) attempt(ctx context.Context, kind Kind, method Method) (net.Conn, error) {
	cfg, err := t.outerTLS()
	if err != nil {
		return nil, err
	}
	cfg.ClientSessionCache = t.Sessions
	raw, err := t.dial(ctx)
	if err != nil {
		return nil, err
	}
	slow := fmt.Errorf("no complete answer to the connection upgrade within %v: %w", HandshakeTimeout, context.DeadlineExceeded)
	hctx, cancel := context.WithTimeoutCause(ctx, HandshakeTimeout, slow)
	defer cancel()
	// Cancelling closes: neither TLS nor HTTP below waits longer than hctx.
	stop := context.AfterFunc(hctx, func() { raw.Close() })
	below := conn.NewBatch(raw)
	c, err := t.upgrade(hctx, conn.NewTLS(tls.Client(below, cfg), below), kind, method)
	if stop() && err == nil {
		return c, nil
	}
	raw.Close()
	if _, refused := errors.AsType[*RefusedError](err); hctx.Err() != nil && (!refused || ctx.Err() != nil) {
		err = fmt.Errorf("%s upgrade at %s: %w", method, t.Addr, context.Cause(hctx))
	}
	return nil, err
}

func (t Target) upgrade(ctx context.Context, tc *conn.TLS, kind Kind, method Method) (net.Conn, error) {
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS to %s: %w", t.Addr, err)
	}
	if method == WebSocket {
		return t.connectWebSocket(ctx, tc, kind)
	}
	return t.connectLegacy(tc, kind)
}

// outerTLS is for the public side of the target. It offers no ALPN: the request
// is HTTP/1.1, because HTTP/2 cannot switch protocols.
func (t Target) outerTLS() (*tls.Config, error) {
	host, _, err := net.SplitHostPort(t.Addr)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{
		ServerName: host,
		MinVersion: tls.VersionTLS12,
		// Small first records shorten the wait for a page's first bytes. Here
		// they would only cut the inner records into more pieces.
		DynamicRecordSizingDisabled: true,
	}
	trust.Public(cfg, t.Roots, t.Insecure)
	return cfg, nil
}

func (t Target) dial(ctx context.Context) (net.Conn, error) {
	if t.Dial != nil {
		return t.Dial(ctx, "tcp", t.Addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", t.Addr)
}
