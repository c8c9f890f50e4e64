package tlsroute

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"tshx/internal/conn"
	"tshx/internal/identity"
	"tshx/internal/upgrade"
)

// Errors by which a Mux turns a connection away.
var (
	ErrNoHandler  = errors.New("no handler for this route")
	ErrNoDatabase = errors.New("the client certificate opens no database")
	ErrPinnedIP   = errors.New("the client certificate is pinned to another address")
	ErrPinnedPort = errors.New("the client certificate is pinned to an address, and the client's is not certain (port 0)")
)

// Info is what a Mux found out about a connection on the way to its handler.
type Info struct {
	Hello Hello
	// ALPN is the negotiated name. It is empty where none was negotiated and
	// where the connection was not terminated.
	ALPN string
	// Certificate is the client's, verified; Identity is what it says. With two
	// handshakes it is that of the inner one. Nil if none was shown.
	Certificate *x509.Certificate
	Identity    identity.Identity
	// Client is where the client connects from, as far as is known.
	Client net.Addr
}

// Handler serves the connections of one route.
type Handler struct {
	// Serve is given a connection, to be closed by Serve or by whom it hands it
	// to; it may return before that. ctx lives as long as the connection.
	Serve func(ctx context.Context, c net.Conn, info Info)
	// TLS is used for the handshake in place of any other configuration.
	TLS *tls.Config
	// Forward asks for the connection as it came, ClientHello included.
	Forward bool
}

// Mux routes the connections of the access proxy's one port. It peeks at the
// ClientHello, chooses the handler by SNI and ALPN, does the handshake and
// takes off ping framing (docs/protocol.md, "What the server does"). Its
// fields are not to be changed once it serves.
type Mux struct {
	// Routes holds the handlers by ALPN name. A name stands for its ping variant
	// too; ALPNMySQL also for the names that carry a version, ALPNAuthPrefix for
	// all that begin with it. ALPNHTTP1 serves clients that offer nothing,
	// ALPNPostgres also those that ask for TLS as PostgreSQL's do.
	Routes map[string]Handler
	// Kube serves the Kubernetes server names, whatever the ALPN and the client
	// certificate.
	Kube *Handler
	// KubeLegacy has Kube serve names with KubeLegacyPrefix as well, as proxies up to
	// v14 did.
	KubeLegacy bool
	// Database serves, whatever the ALPN, all other connections whose client
	// certificate opens a database, and those of the database names with inner TLS.
	Database *Handler
	// TLS is the web configuration. NextProtos should be ServerProtocols().
	TLS *tls.Config
	// InnerTLS is for the second handshake of the database names with inner TLS.
	// It has the host certificate and must require a client certificate.
	InnerTLS *tls.Config
	// PingInterval is the time between pings; zero means upgrade.PingInterval.
	PingInterval time.Duration
	// Log gets one line for each connection that is turned away. Nil drops them.
	Log *slog.Logger
}

// ServeConn routes c, owns it, and returns when it has been closed. Ending ctx
// closes it. A connection from an upgrade is fed in here like any other, with
// override in place of m.TLS; else override is nil.
func (m *Mux) ServeConn(ctx context.Context, c net.Conn, override *tls.Config) {
	end := &closeNotifier{Conn: c, closed: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { end.Close() })
	defer stop()
	h, err := m.serve(ctx, end, override)
	if err != nil {
		end.Close()
		m.logRefusal(c, h, err)
	}
	<-end.closed
}

func (m *Mux) serve(ctx context.Context, c net.Conn, override *tls.Config) (Hello, error) {
	client := c.RemoteAddr()
	within := HelloTimeout
	if override != nil {
		within = UpgradedHelloTimeout
	}
	hello, c, err := readHello(c, within)
	if postgres, ok := m.Routes[ALPNPostgres]; ok && errors.Is(err, ErrPostgres) {
		postgres.Serve(ctx, c, Info{Client: client})
		return hello, nil
	}
	if err != nil {
		return hello, err
	}
	name, h := m.route(hello)
	if h == nil {
		return hello, ErrNoHandler
	}
	info := Info{Hello: hello, Client: client}
	if h.Forward {
		h.Serve(ctx, c, info)
		return hello, nil
	}
	tc, err := m.handshake(ctx, c, m.config(h, override), &info)
	if err != nil {
		return hello, fmt.Errorf("tls handshake: %w", err)
	}
	info.ALPN = tc.ConnectionState().NegotiatedProtocol
	var stream net.Conn = tc
	if IsPing(info.ALPN) {
		stream = m.pings(tc)
	}
	switch {
	case h == m.Kube: // whatever the certificate is for: its handler says no
	case m.Database != nil && info.Identity.Database.Present():
		h = m.Database
	case HasInnerTLS(name):
		if stream, err = m.innerHandshake(ctx, stream, &info); err != nil {
			return hello, err
		}
	}
	h.Serve(ctx, stream, info)
	return hello, nil
}

// route returns the handler for a hello and the name it was found by.
func (m *Mux) route(h Hello) (string, *Handler) {
	legacy := m.KubeLegacy && strings.HasPrefix(h.ServerName, KubeLegacyPrefix)
	if m.Kube != nil && (legacy || strings.HasPrefix(h.ServerName, KubePrefix)) {
		return "", m.Kube
	}
	names := h.ALPN
	if len(names) == 0 {
		names = []string{ALPNHTTP1}
	}
	for _, name := range names {
		if m.Database != nil && HasInnerTLS(name) {
			return name, m.Database
		}
		if h, ok := m.Routes[routeKey(name)]; ok {
			return name, &h
		}
	}
	return "", nil
}

// routeKey returns the key in Mux.Routes for an offered name.
func routeKey(name string) string {
	if base, ok := strings.CutSuffix(name, pingSuffix); ok && (base == ALPNTCP || slices.Contains(plainDB, base)) {
		return base
	}
	for _, prefix := range []string{ALPNAuthPrefix, mysqlVersionPrefix} {
		if strings.HasPrefix(name, prefix) {
			return strings.TrimSuffix(prefix, "-")
		}
	}
	return name
}

func (m *Mux) config(h *Handler, override *tls.Config) *tls.Config {
	switch {
	case h.TLS != nil:
		return h.TLS
	case override != nil:
		return override
	}
	return m.TLS
}

// handshake is the outer or inner server handshake. It fills in what the
// client's certificate says.
func (m *Mux) handshake(ctx context.Context, c net.Conn, cfg *tls.Config, info *Info) (*conn.TLS, error) {
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	below := conn.NewBatch(c)
	tc := conn.NewTLS(tls.Server(uncut{below, errClientCut}, cfg), below)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	certs := tc.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return tc, nil
	}
	id, err := identity.FromCertificate(certs[0])
	if err != nil {
		return nil, fmt.Errorf("client certificate: %w", err)
	}
	if err := Pinned(id, info.Client); err != nil {
		return nil, err
	}
	info.Certificate, info.Identity = certs[0], id
	return tc, nil
}

// Pinned refuses a client at addr whose certificate is pinned to another address.
// Port 0 marks an address that is not certain (docs/protocol.md, "Server half
// details"). A Mux asks by itself for the certificates of its own handshakes.
func Pinned(id identity.Identity, addr net.Addr) error {
	if id.PinnedIP == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr.String())
	switch {
	case err != nil || !net.ParseIP(id.PinnedIP).Equal(net.ParseIP(host)):
		return ErrPinnedIP
	case port == "0":
		return ErrPinnedPort
	}
	return nil
}

// innerHandshake is the second handshake of a database client that came
// without a database certificate in the first one.
func (m *Mux) innerHandshake(ctx context.Context, c net.Conn, info *Info) (net.Conn, error) {
	tc, err := m.handshake(ctx, c, m.InnerTLS, info)
	if err != nil {
		return nil, fmt.Errorf("inner tls handshake: %w", err)
	}
	if !info.Identity.Database.Present() {
		return nil, ErrNoDatabase
	}
	return tc, nil
}

// pings puts c under ping framing and has the client pinged until c is closed.
func (m *Mux) pings(c net.Conn) net.Conn {
	p := upgrade.NewPingConn(c)
	p.StartPings(cmp.Or(m.PingInterval, upgrade.PingInterval))
	return p
}

func (m *Mux) logRefusal(c net.Conn, h Hello, err error) {
	if m.Log == nil {
		return
	}
	route := strings.Join(h.ALPN, ",")
	if route == "" {
		route = h.ServerName
	}
	m.Log.Info("connection refused", "remote", c.RemoteAddr(), "route", route, "err", err)
}

// closeNotifier tells when a connection was closed.
type closeNotifier struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closeNotifier) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

func (c *closeNotifier) CloseWrite() error { return conn.CloseWrite(c.Conn) }

// NetConn returns the connection beneath, as tls.Conn.NetConn does.
func (c *closeNotifier) NetConn() net.Conn { return c.Conn }
