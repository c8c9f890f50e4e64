// Package egress opens TCP connections to the outside, through the forward
// proxy that the environment names.
//
//	d := &egress.Dialer{}
//	c, err := d.DialContext(ctx, "tcp", "proxy.example.com:443")
//
// HTTPS_PROXY, HTTP_PROXY and NO_PROXY are read in either case with the rules
// of golang.org/x/net/http/httpproxy; the forward proxy may speak http, https
// or socks5. Loopback targets are always dialled directly. The package speaks
// no protocol on the connections that it returns.
package egress

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"tshx/internal/trust"
)

// Timeout bounds a whole DialContext: name lookup, TCP, and the conversation
// with the forward proxy.
const Timeout = 15 * time.Second

// Dialer dials with the environment's forward proxy. The zero value is ready;
// it is safe for concurrent use as long as the fields do not change.
type Dialer struct {
	// Getenv reads the environment, anew for each dial. Nil means os.Getenv.
	Getenv func(string) string
	// Roots are taken, besides the system's, to verify an https proxy.
	Roots *x509.CertPool
	// Insecure skips the verification of an https proxy.
	Insecure bool
	// KeepAlive is the idle time after which TCP probes start, and three times
	// their distance; four without an answer end the connection. Zero means 15 s,
	// so that an idle connection is found dead in 35 s; negative switches them off.
	KeepAlive time.Duration
}

// DialContext connects to addr, a host:port. ctx and Timeout bound the dial
// only; the caller closes the connection. The connection half-closes
// (CloseWrite) towards the forward proxy or the target, and breaks with a
// *StallError when nothing gets through any more. A failure of the forward proxy
// is a *ProxyError.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	slow := fmt.Errorf("no answer within %v: %w", Timeout, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, Timeout, slow)
	defer cancel()
	via, err := d.rules().find(addr)
	if err != nil {
		return nil, err
	}
	if via == nil {
		return d.tcp(ctx, network, addr)
	}
	c, err := d.dialVia(ctx, via, network, addr)
	if err != nil {
		return nil, via.fail(addr, err)
	}
	return c, nil
}

// ProxyFor tells which forward proxy DialContext would use for addr: nil when
// it would dial directly. Credentials are left out, so that the URL can be
// shown.
func (d *Dialer) ProxyFor(addr string) (*url.URL, error) {
	via, err := d.rules().find(addr)
	if via == nil || err != nil {
		return nil, err
	}
	return &url.URL{Scheme: via.scheme, Host: via.addr}, nil
}

func (d *Dialer) rules() rules {
	if d.Getenv == nil {
		return rules{getenv: os.Getenv}
	}
	return rules{getenv: d.Getenv}
}

func (d *Dialer) tcp(ctx context.Context, network, addr string) (net.Conn, error) {
	nd := net.Dialer{KeepAlive: d.KeepAlive, KeepAliveConfig: d.keepAlive()}
	c, err := nd.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		return watch(tcp), nil
	}
	return c, nil
}

// keepAliveProbes is how many probes in a row may stay without an answer.
const keepAliveProbes = 4

func (d *Dialer) keepAlive() net.KeepAliveConfig {
	idle := cmp.Or(d.KeepAlive, 15*time.Second)
	return net.KeepAliveConfig{Enable: idle > 0, Idle: idle, Interval: idle / 3, Count: keepAliveProbes}
}

func (d *Dialer) dialVia(ctx context.Context, via *via, network, addr string) (net.Conn, error) {
	if via.scheme == schemeSOCKS5 || via.scheme == schemeSOCKS5H {
		return d.dialSOCKS(ctx, via, network, addr)
	}
	raw, err := d.tcp(ctx, network, via.addr)
	if err != nil {
		return nil, err
	}
	// Cancelling closes: nothing below may outlive ctx.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	c, err := d.tunnel(ctx, raw, via, addr)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}

// tunnel asks the proxy behind raw for a connection to addr, over TLS where
// the proxy wants it.
func (d *Dialer) tunnel(ctx context.Context, raw net.Conn, via *via, addr string) (net.Conn, error) {
	if via.scheme != schemeHTTPS {
		return connect(raw, via, addr)
	}
	cfg := &tls.Config{ServerName: via.host, MinVersion: tls.VersionTLS12}
	trust.Public(cfg, d.Roots, d.Insecure)
	tc := tls.Client(raw, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return connect(tc, via, addr)
}
