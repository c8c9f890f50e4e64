package tlsroute

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"tshx/internal/trust"
	"tshx/internal/upgrade"
)

// Bounds of a dial.
const (
	ConnectTimeout   = 15 * time.Second
	HandshakeTimeout = 10 * time.Second
)

// Dialer dials routes through one proxy. It is safe for concurrent use.
type Dialer struct {
	// Finder holds the proxy's address and finds out how to reach it.
	Finder *Finder
	// HostCAs returns the CAs that sign the cluster's host certificates. It is
	// called for each handshake that needs them.
	HostCAs func() (*x509.CertPool, error)
	Log     *slog.Logger
}

// ErrHandshakeCut says that the other side closed the connection in the middle
// of the TLS handshake, as a proxy does that knows no such route.
var ErrHandshakeCut = errors.New("the connection was closed during the handshake")

// RouteLostError says that a TLS server answered that is not the proxy, or
// that does not know the route.
type RouteLostError struct {
	Addr    string
	Offered []string
	Got     string // the negotiated protocol, empty if none
}

func (e *RouteLostError) Error() string {
	got := "no protocol"
	if e.Got != "" {
		got = fmt.Sprintf("protocol %q", e.Got)
	}
	return fmt.Sprintf("%s answered with %s to an offer of %s", e.Addr, got, strings.Join(e.Offered, ", "))
}

// TrustError says that the certificate of the TLS server that answered is not
// trusted for the address.
type TrustError struct {
	HostCert bool // the cluster's CAs were to vouch for it, not the public ones
	Err      error
}

func (e *TrustError) Error() string { return e.Err.Error() }
func (e *TrustError) Unwrap() error { return e.Err }

// ForcedError is a dial that failed on the way that the environment demands, in a
// manner that the other way might cure.
type ForcedError struct {
	Way Way
	Err error
}

func (e *ForcedError) Error() string { return e.Err.Error() }
func (e *ForcedError) Unwrap() error { return e.Err }

// Hint names the variable.
func (e *ForcedError) Hint() string {
	only := "raw TLS"
	if e.Way.Upgrade {
		only = "the connection upgrade"
	}
	return upgrade.EnvRequired + " allows only " + only + " here; unset it unless that is meant"
}

// Dial opens a connection on route r. It is a TLS connection to the proxy
// itself, proved by the negotiated ALPN or by the host certificate; it can
// half-close (conn.CloseWriter) and is already unwrapped where ping framing
// was negotiated. ctx bounds the dial only. The caller closes the connection.
//
// A dial that fails in a way that a balancer put up or removed in the meantime
// would explain tests the proxy again and, if the way has changed, tries the
// new one.
func (d *Dialer) Dial(ctx context.Context, r Route) (net.Conn, error) {
	var cert *tls.Certificate
	if r.Certificate != nil {
		var err error
		if cert, err = r.Certificate(); err != nil {
			return nil, err
		}
	}
	began := d.Finder.now()
	way := d.Finder.Find(ctx)
	c, err := d.via(ctx, way, r, cert)
	if err == nil || ctx.Err() != nil || !contradicts(err) {
		return c, err
	}
	if way.Source == SourceEnv {
		return nil, &ForcedError{Way: way, Err: err}
	}
	again, ok := d.Finder.Again(ctx, way, began)
	if !ok {
		return nil, err
	}
	d.log().Warn("the way to the proxy has changed", "remote", d.Finder.Target.Addr, "from", way.String(), "to", again.String(), "evidence", again.Evidence, "err", err)
	return d.via(ctx, again, r, cert)
}

// contradicts reports whether a failed dial may mean that the way is wrong: a
// TLS or HTTP server was reached and did not behave as expected. A proxy that
// cannot be reached, or does not answer, says nothing about balancers.
func contradicts(err error) bool {
	var limited *upgrade.RefusedError
	if errors.As(err, &limited) && limited.Status == http.StatusTooManyRequests {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	var dns *net.DNSError
	var local *localError
	return !errors.As(err, &dns) && !errors.As(err, &local) && !errors.Is(err, context.DeadlineExceeded)
}

// localError is a failure before anything was dialled.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }

func (d *Dialer) via(ctx context.Context, way Way, r Route, cert *tls.Certificate) (net.Conn, error) {
	cfg, err := d.config(way, r, cert)
	if err != nil {
		return nil, &localError{err}
	}
	var stream net.Conn
	if way.Upgrade {
		stream, err = d.upgraded(ctx, way, r)
	} else {
		stream, err = d.connect(ctx)
	}
	if err != nil {
		return nil, err
	}
	c, err := d.handshake(ctx, stream, cfg, r)
	if err != nil {
		stream.Close()
		return nil, err
	}
	return c, nil
}

// config says what the TLS connection to the proxy offers and what it trusts:
// reached directly, the proxy shows its public certificate except on routes
// with a host certificate; inside an upgrade always the host certificate.
func (d *Dialer) config(way Way, r Route, cert *tls.Certificate) (*tls.Config, error) {
	t := d.Finder.Target
	cfg := &tls.Config{ServerName: r.ServerName, NextProtos: r.ALPN, MinVersion: tls.VersionTLS12}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(t.Addr)
		if err != nil {
			return nil, fmt.Errorf("address of the proxy: %w", err)
		}
		cfg.ServerName = host
	}
	if cert != nil {
		// Not Certificates: that field would offer the certificate only to a
		// server that lists its CA.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	if !way.Upgrade && !r.HostCert {
		trust.Public(cfg, t.Roots, t.Insecure)
		return cfg, nil
	}
	pool, err := d.HostCAs()
	if err != nil {
		return nil, err
	}
	cfg.RootCAs = pool
	return cfg, nil
}

func (d *Dialer) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	t := d.Finder.Target
	if t.Dial == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", t.Addr)
	}
	return t.Dial(ctx, "tcp", t.Addr)
}

// upgraded opens the tunnel. A method that once worked may fail after the
// balancer or the proxy has changed; then the other one is tried.
func (d *Dialer) upgraded(ctx context.Context, way Way, r Route) (net.Conn, error) {
	kind := kindOf(r)
	method, forced := d.Finder.method(way)
	c, used, err := d.Finder.Target.Connect(ctx, kind, method)
	if err != nil && !forced && method != upgrade.Auto && upgrade.MethodRefused(err) {
		d.log().Debug("remembered upgrade refused", "remote", d.Finder.Target.Addr, "method", method, "err", err)
		other := upgrade.WebSocket
		if method == upgrade.WebSocket {
			other = upgrade.Legacy
		}
		c, used, err = d.Finder.Target.Connect(ctx, kind, other)
	}
	if err != nil {
		return nil, err
	}
	if !forced {
		d.Finder.worked(way, used)
	}
	d.log().Debug("upgraded", "remote", d.Finder.Target.Addr, "route", r.Name, "method", used, "kind", kind)
	return c, nil
}

// kindOf picks the upgrade whose server pings for the routes that have no ping
// framing of their own.
func kindOf(r Route) upgrade.Kind {
	needsPing := func(name string) bool {
		return name == ALPNSSH || name == ALPNSSHGRPC || name == ALPNReverseTunnel || strings.HasPrefix(name, ALPNAuthPrefix)
	}
	if slices.ContainsFunc(r.ALPN, needsPing) {
		return upgrade.ALPNPing
	}
	return upgrade.ALPN
}

func (d *Dialer) handshake(ctx context.Context, stream net.Conn, cfg *tls.Config, r Route) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	c := tls.Client(uncut{stream}, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = ErrHandshakeCut
		}
		err = fmt.Errorf("TLS to the proxy %s for %s: %w", d.Finder.Target.Addr, r.Name, err)
		var untrusted *tls.CertificateVerificationError
		if errors.As(err, &untrusted) {
			err = &TrustError{HostCert: cfg.RootCAs != nil, Err: err}
		}
		return nil, err
	}
	got := c.ConnectionState().NegotiatedProtocol
	if !r.HostCert && len(r.ALPN) > 0 && !slices.Contains(r.ALPN, got) {
		return nil, &RouteLostError{Addr: d.Finder.Target.Addr, Offered: r.ALPN, Got: got}
	}
	d.log().Debug("connected", "remote", d.Finder.Target.Addr, "route", r.Name, "sni", cfg.ServerName, "alpn", got)
	if IsPing(got) {
		return upgrade.NewPingConn(c), nil
	}
	return c, nil
}

func (d *Dialer) log() *slog.Logger {
	if d.Log != nil {
		return d.Log
	}
	return slog.New(slog.DiscardHandler)
}
