package survey

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"tshx/internal/upgrade"
)

// upgraded returns a check of one connection upgrade: only TLS with the proxy
// inside of it proves that the stream goes there.
func (s *surveyor) upgraded(u upgradeCheck) func(context.Context) finding {
	return func(ctx context.Context) finding {
		c, err := s.connect(ctx, u, nil)
		if err != nil {
			return finding{err: err, proves: refusal(err)}
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(ctx, innerTimeout)
		defer cancel()
		var cert *Certificate
		inner := tls.Client(c, s.clientTLS(true, func(c *Certificate) { cert = c }, upgrade.TestProtocol))
		if err := inner.HandshakeContext(ctx); err != nil {
			return finding{err: &InnerError{Err: err}, proves: "what switches protocols there is not the proxy, or it loses bytes"}
		}
		defer inner.Close()
		if got := inner.ConnectionState().NegotiatedProtocol; got != upgrade.TestProtocol {
			return finding{err: &InnerError{Err: errNotNegotiated}, proves: "what switches protocols there is not the proxy"}
		}
		return s.judgeHost(cert, "101, then TLS with the ")
	}
}

// refusal says what a refused upgrade proves.
func refusal(err error) string {
	refused, ok := errors.AsType[*upgrade.RefusedError](err)
	switch {
	case !ok:
		return ""
	case refused.Status == http.StatusTooManyRequests:
		return "a rate limit was hit: nothing about this method"
	case refused.HeaderDropped():
		return "the request reaches the proxy, but without its Upgrade header"
	case refused.Proxy && refused.Status == http.StatusNotFound:
		return "the request reaches the proxy, which does not know this method"
	case refused.Proxy:
		return "the request reaches the proxy"
	}
	return "something in front of the proxy refuses it"
}

// InnerError is a connection upgrade that leads to something else than a proxy.
type InnerError struct {
	Err error
}

func (e *InnerError) Error() string { return "101, but no TLS with the proxy: " + e.Err.Error() }
func (e *InnerError) Unwrap() error { return e.Err }

// Hint says where to look.
func (e *InnerError) Hint() string {
	return "check where the balancer sends " + upgrade.Path + ", and that it passes bytes on unchanged and at once"
}

// connect upgrades a connection. Whether the certificate outside is trusted is told
// elsewhere.
func (s *surveyor) connect(ctx context.Context, u upgradeCheck, pinged func()) (net.Conn, error) {
	t := s.Target
	t.Insecure, t.Sessions, t.Pinged = true, nil, pinged
	c, _, err := t.Connect(ctx, u.kind, u.method)
	return c, err
}

// ErrNoPing says that a stream ended before there was a ping.
var ErrNoPing = errors.New("the stream ended before the first ping")

// pinged returns a check that waits for the first ping. Nothing is sent meanwhile,
// as by people who look with curl.
func (s *surveyor) pinged(u upgradeCheck) func(context.Context) finding {
	return func(ctx context.Context) finding {
		ping := make(chan struct{}, 1)
		c, err := s.connect(ctx, u, func() {
			select {
			case ping <- struct{}{}:
			default:
			}
		})
		if err != nil {
			return finding{err: err}
		}
		began := time.Now()
		ended := make(chan struct{})
		go func() { defer close(ended); io.Copy(io.Discard, c) }()
		defer func() { c.Close(); <-ended }()
		select {
		case <-ping:
			return finding{
				result: fmt.Sprintf("first ping after %.1f s", time.Since(began).Seconds()),
				proves: "a silent stream lives at least so long, and is kept alive",
			}
		case <-ended:
			return finding{err: fmt.Errorf("%w, after %.1f s", ErrNoPing, time.Since(began).Seconds()), proves: "silent streams are cut"}
		case <-ctx.Done():
			return finding{err: fmt.Errorf("no ping within %v", pingTimeout), proves: "the proxy does not ping, or something holds pings back"}
		}
	}
}
