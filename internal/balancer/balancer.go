// Package balancer imitates the load balancers between clients and an access
// proxy: they end TLS and do not pass ALPN on, so that TLS routing needs the
// connection upgrade.
//
//	b, err := balancer.New(balancer.Options{Upstream: "127.0.0.1:3080", Certificate: cert})
//	defer b.Close()
//	err = b.Serve(ctx, ln)
//
// Its switches are the ways in which real ones stand in the way: only WebSocket
// passes, no upgrade passes, idle connections are cut, an answer to ALPN that
// nobody asked for. It balances nothing and is no proxy to put into service.
package balancer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"

	"tshx/internal/accept"
	"tshx/internal/conn"
)

// Bounds of the waits in this package.
const (
	handshakeTimeout = 10 * time.Second
	dialTimeout      = 15 * time.Second
)

// ALPN is how a balancer answers the protocol names that a client offers.
type ALPN string

const (
	ALPNNone    ALPN = "none"    // not at all; the meaning of the empty ALPN
	ALPNAlert   ALPN = "alert"   // http/1.1 if offered, else the alert no_application_protocol
	ALPNUnasked ALPN = "unasked" // http/1.1, offered or not
)

// Upgrades is which Upgrade headers pass.
type Upgrades string

const (
	UpgradesAll       Upgrades = "all"       // any; the meaning of the empty Upgrades
	UpgradesWebSocket Upgrades = "websocket" // websocket only
	UpgradesNone      Upgrades = "none"
)

// Options configure a Balancer.
type Options struct {
	// Upstream is the proxy's host:port. It is reached by TLS that is not
	// verified, as most balancers do.
	Upstream string
	// Certificate is what clients see.
	Certificate tls.Certificate
	// L4 passes on the bytes inside TLS without looking at them. Then only ALPN
	// and Idle of the switches below matter.
	L4 bool

	ALPN     ALPN
	Upgrades Upgrades
	// Refuse is the HTTP status for an upgrade that does not pass. Zero drops its
	// Upgrade header and passes the request on without.
	Refuse int
	// Idle cuts a connection that carries no byte in either direction for so
	// long. Zero never does.
	Idle time.Duration
	// TwoForwardedFor sends X-Forwarded-For twice instead of once.
	TwoForwardedFor bool
	// SendProxy begins each connection to the proxy with a PROXY protocol header of
	// version 2, which names the client.
	SendProxy bool
	// ServerName is the Server header of the balancer's own answers.
	ServerName string
	// Log gets what fails. Nil drops it.
	Log *slog.Logger
}

// Balancer is a running balancer. New starts it, Close ends it.
type Balancer struct {
	opts  Options
	log   *slog.Logger
	front *tls.Config
	back  *tls.Config

	queue *accept.Queue
	http  *http.Server
	plain *http.Transport

	ctx    context.Context // of all connections, ended by Close
	cancel context.CancelFunc
	set    accept.Set

	mu        sync.Mutex
	listeners []net.Listener
	closing   bool
	done      sync.WaitGroup
}

// New checks the options and starts a balancer that as yet listens nowhere.
func New(o Options) (*Balancer, error) {
	switch o.ALPN {
	case "", ALPNNone, ALPNAlert, ALPNUnasked:
	default:
		return nil, fmt.Errorf("balancer: unknown alpn %q: use none, alert or unasked", o.ALPN)
	}
	switch o.Upgrades {
	case "", UpgradesAll, UpgradesWebSocket, UpgradesNone:
	default:
		return nil, fmt.Errorf("balancer: unknown upgrades %q: use all, websocket or none", o.Upgrades)
	}
	if o.Refuse != 0 && (o.Refuse < 400 || o.Refuse > 599) {
		return nil, fmt.Errorf("balancer: refuse with a status from 400 to 599, not %d", o.Refuse)
	}
	if o.Upstream == "" || len(o.Certificate.Certificate) == 0 {
		return nil, errors.New("balancer: needs an upstream and a certificate")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Balancer{
		opts:  o,
		log:   o.Log,
		front: frontTLS(o),
		back:  &tls.Config{InsecureSkipVerify: true},
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.startHTTP()
	return b, nil
}

// frontTLS is the configuration towards clients. For an answer that nobody
// asked for it overwrites what the client has offered: the list is the one that
// crypto/tls negotiates by, while the transcript is made of the hello's bytes.
func frontTLS(o Options) *tls.Config {
	cfg := &tls.Config{Certificates: []tls.Certificate{o.Certificate}}
	if o.ALPN == ALPNAlert || o.ALPN == ALPNUnasked {
		cfg.NextProtos = []string{"http/1.1"}
	}
	if o.ALPN == ALPNUnasked {
		cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			for i := range hello.SupportedProtos {
				hello.SupportedProtos[i] = "http/1.1"
			}
			return nil, nil
		}
	}
	return cfg
}

// Serve accepts connections from ln until ctx ends, ln is closed or b is. It
// closes ln; the connections stay until they end or b is closed.
func (b *Balancer) Serve(ctx context.Context, ln net.Listener) error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		ln.Close()
		return net.ErrClosed
	}
	b.listeners = append(b.listeners, ln)
	b.mu.Unlock()
	return accept.Loop(ctx, ln, b.ServeConn)
}

// ServeConn serves c in the background and owns it.
func (b *Balancer) ServeConn(c net.Conn) { b.set.Go(c, b.serve) }

func (b *Balancer) serve(c net.Conn) {
	ctx, cancel := context.WithTimeout(b.ctx, handshakeTimeout)
	defer cancel()
	tc := tls.Server(c, b.front)
	if err := tc.HandshakeContext(ctx); err != nil {
		tc.Close()
		b.log.Debug("handshake failed", "remote", c.RemoteAddr(), "err", err)
		return
	}
	if !b.opts.L4 {
		b.queue.Put(b.ctx, tc)
		return
	}
	up, err := b.dial(withClient(b.ctx, c.RemoteAddr()))
	if err != nil {
		tc.Close()
		b.log.Info("upstream failed", "remote", b.opts.Upstream, "err", err)
		return
	}
	b.splice(tc, up)
}

// dial connects to the proxy for the client of ctx.
func (b *Balancer) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", b.opts.Upstream)
	if err != nil {
		return nil, err
	}
	if b.opts.SendProxy {
		_, err = proxyproto.HeaderProxyFromAddrs(2, clientOf(ctx), raw.LocalAddr()).WriteTo(raw)
	}
	tc := tls.Client(raw, b.back)
	if err == nil {
		err = tc.HandshakeContext(ctx)
	}
	if err != nil {
		raw.Close()
		return nil, err
	}
	return tc, nil
}

type clientKey struct{}

func withClient(ctx context.Context, addr net.Addr) context.Context {
	return context.WithValue(ctx, clientKey{}, addr)
}

// clientOf returns for whom ctx is; nil if that is not known.
func clientOf(ctx context.Context) net.Addr {
	addr, _ := ctx.Value(clientKey{}).(net.Addr)
	return addr
}

// errIdle ends a connection that the balancer takes for dead.
var errIdle = errors.New("cut for idleness")

// splice joins two connections until they end or are idle for too long. It
// closes both.
func (b *Balancer) splice(client, upstream net.Conn) {
	ctx, cancel := context.WithCancelCause(b.ctx)
	defer cancel(nil)
	if b.opts.Idle > 0 {
		a := &activity{idle: b.opts.Idle, timer: time.AfterFunc(b.opts.Idle, func() { cancel(errIdle) })}
		defer a.timer.Stop()
		client = &watched{client, a}
	}
	_, err := conn.Splice(ctx, client, upstream)
	if err != nil {
		b.log.Debug("connection failed", "remote", client.RemoteAddr(), "err", err)
	}
}

// activity puts off a timer.
type activity struct {
	idle  time.Duration
	timer *time.Timer
}

// watched notes each byte that passes through one side, which is all that pass.
type watched struct {
	net.Conn
	*activity
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.timer.Reset(w.idle)
	}
	return n, err
}

func (w *watched) Write(p []byte) (int, error) {
	w.timer.Reset(w.idle)
	return w.Conn.Write(p)
}

func (w *watched) CloseWrite() error { return conn.CloseWrite(w.Conn) }

// NetConn returns the connection beneath, as tls.Conn.NetConn does.
func (w *watched) NetConn() net.Conn { return w.Conn }

// CloseConns cuts the open connections and goes on listening.
func (b *Balancer) CloseConns() { b.set.CloseConns() }

// Close closes the listeners and all connections and returns when all of them
// have ended.
func (b *Balancer) Close() error {
	b.mu.Lock()
	b.closing = true
	for _, ln := range b.listeners {
		ln.Close()
	}
	b.mu.Unlock()
	b.cancel()
	b.set.Close()
	b.queue.Close()
	err := b.http.Close()
	b.set.Wait()
	b.done.Wait()
	b.plain.CloseIdleConnections()
	return err
}
