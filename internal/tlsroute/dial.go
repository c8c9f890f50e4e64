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
	"slices"
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

	sessions sessions
	pace     pace
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
	cert, err := r.certificate()
	if err != nil {
		return nil, err
	}
	c, _, err := d.dial(ctx, r, cert)
	return c, err
}

// dial is Dial with the certificate at hand. It returns on which terms the
// connection was made, too.
func (d *Dialer) dial(ctx context.Context, r Route, cert *tls.Certificate) (net.Conn, terms, error) {
	ctx, w := d.pace.watch(ctx, d.Finder.Target.Addr)
	c, tm, err := d.find(ctx, w, r, cert)
	return c, tm, w.end(ctx, err)
}

func (d *Dialer) find(ctx context.Context, w *watch, r Route, cert *tls.Certificate) (net.Conn, terms, error) {
	began := d.Finder.now()
	way := d.Finder.Find(ctx)
	w.skip()
	c, tm, err := d.via(ctx, w, way, r, cert)
	if err == nil || ctx.Err() != nil || !contradicts(err) {
		return c, tm, err
	}
	if way.Source == SourceEnv {
		return nil, tm, &ForcedError{Way: way, Err: err}
	}
	again, ok := d.Finder.Again(ctx, way, began)
	if !ok {
		return nil, tm, err
	}
	w.step(true)
	d.log().Warn("the way to the proxy has changed", "remote", d.Finder.Target.Addr, "from", way.String(), "to", again.String(), "evidence", again.Evidence, "err", err)
	return d.via(ctx, w, again, r, cert)
}

func (d *Dialer) via(ctx context.Context, w *watch, way Way, r Route, cert *tls.Certificate) (net.Conn, terms, error) {
	tm, err := d.terms(way, r, cert)
	if err != nil {
		return nil, tm, &localError{err}
	}
	cfg, err := d.config(tm, r, cert, true)
	if err != nil {
		return nil, tm, &localError{err}
	}
	c, err := d.secure(ctx, w, way, r, cfg)
	if err != nil && ctx.Err() == nil && misled(cfg, err) {
		d.log().Debug("relied on a session in vain", "remote", d.Finder.Target.Addr, "route", r.Name, "err", err)
		w.step(true)
		if cfg, err = d.config(tm, r, cert, false); err != nil {
			return nil, tm, &localError{err}
		}
		c, err = d.secure(ctx, w, way, r, cfg)
	}
	if err != nil {
		return nil, tm, err
	}
	w.step(true)
	return c, tm, nil
}

// secure connects and does the handshake that cfg wants.
func (d *Dialer) secure(ctx context.Context, w *watch, way Way, r Route, cfg *tls.Config) (net.Conn, error) {
	var stream net.Conn
	var err error
	if way.Upgrade {
		stream, err = d.upgraded(ctx, w, way, r)
	} else {
		stream, err = d.connect(ctx, w)
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

// terms are what a connection depends on besides its route.
type terms struct {
	cert    fingerprint
	upgrade bool
	// hostCAs are to vouch for the proxy. Nil means that its public certificate is
	// asked for.
	hostCAs *x509.CertPool
}

func (t terms) equal(other terms) bool {
	return t.cert == other.cert && t.upgrade == other.upgrade && t.hostCAs.Equal(other.hostCAs)
}

// terms returns those that hold now: reached directly, the proxy shows its
// public certificate except on routes with a host certificate; inside an upgrade
// always the host certificate.
func (d *Dialer) terms(way Way, r Route, cert *tls.Certificate) (terms, error) {
	tm := terms{cert: fingerprintOf(cert), upgrade: way.Upgrade}
	if !way.Upgrade && !r.HostCert {
		return tm, nil
	}
	var err error
	tm.hostCAs, err = d.HostCAs()
	return tm, err
}

// config says what the TLS connection to the proxy offers and what it trusts. It
// relies on a session only if told to.
func (d *Dialer) config(tm terms, r Route, cert *tls.Certificate, rely bool) (*tls.Config, error) {
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
	kind := sessionKind{fingerprint: tm.cert, name: cfg.ServerName, alpn: protoKey(r.ALPN), layer: layerRaw}
	if tm.upgrade {
		kind.layer = layerInner
	}
	roots := tm.hostCAs
	if roots != nil {
		cfg.RootCAs = roots
	} else {
		roots, kind.insecure = t.Roots, t.Insecure
		trust.Public(cfg, t.Roots, t.Insecure)
	}
	cache := d.sessions.cache(kind, roots)
	cfg.ClientSessionCache = cache
	if check := cfg.VerifyConnection; check != nil {
		cfg.VerifyConnection = cache.verify(check)
	}
	if !rely {
		cache.count(false)
	}
	cache.rely(cfg)
	return cfg, nil
}

func (d *Dialer) connect(ctx context.Context, w *watch) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	t := d.target(w)
	return t.Dial(ctx, "tcp", t.Addr)
}

// target is the proxy, of which connections that come about are signs of life.
func (d *Dialer) target(w *watch) upgrade.Target {
	t := d.Finder.Target
	dial := t.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	t.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil {
			w.step(false)
		}
		return c, err
	}
	return t
}

// upgraded opens the tunnel. A method that once worked may fail after the
// balancer or the proxy has changed; then the other one is tried.
func (d *Dialer) upgraded(ctx context.Context, w *watch, way Way, r Route) (net.Conn, error) {
	kind := kindOf(r)
	target := d.target(w)
	host, _, _ := net.SplitHostPort(target.Addr) // Connect tells of a bad one
	target.Sessions = d.sessions.cache(sessionKind{name: host, layer: layerOuter, insecure: target.Insecure}, target.Roots)
	method, forced := d.Finder.method(way)
	c, used, err := target.Connect(ctx, kind, method)
	if err != nil && !forced && method != upgrade.Auto && upgrade.MethodRefused(err) {
		d.log().Debug("remembered upgrade refused", "remote", target.Addr, "method", method, "err", err)
		other := upgrade.WebSocket
		if method == upgrade.WebSocket {
			other = upgrade.Legacy
		}
		c, used, err = target.Connect(ctx, kind, other)
	}
	if err != nil {
		return nil, err
	}
	w.step(true)
	if !forced {
		d.Finder.worked(way, used)
	}
	d.log().Debug("upgraded", "remote", target.Addr, "route", r.Name, "method", used, "kind", kind)
	return c, nil
}

// kindOf picks the upgrade that is pinged, unless the route has ping framing of
// its own. Real proxies take either around any route (docs/protocol.md,
// "Request").
func kindOf(r Route) upgrade.Kind {
	if slices.ContainsFunc(r.ALPN, IsPing) {
		return upgrade.ALPN
	}
	return upgrade.ALPNPing
}

func (d *Dialer) handshake(ctx context.Context, stream net.Conn, cfg *tls.Config, r Route) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	c := client(stream, cfg)
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
		return upgrade.NewPingClient(c), nil
	}
	return c, nil
}

func (d *Dialer) log() *slog.Logger {
	if d.Log != nil {
		return d.Log
	}
	return slog.New(slog.DiscardHandler)
}
