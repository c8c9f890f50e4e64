// Package lab runs a whole small cluster on loopback: a proxyserver, backends,
// perhaps a balancer in front, and the home directories that a login would have
// left.
//
//	l, err := lab.Start(ctx, lab.Demo())
//	defer l.Close()
//	err = l.WriteHome(dir, l.Addr, lab.HomeOptions{})
//
// It is for tests, demonstrations and development. Its built-in node runs
// commands as the user that the lab runs as, for everybody with one of its
// certificates; therefore it listens on loopback only.
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"tshx/internal/accept"
	"tshx/internal/balancer"
	"tshx/internal/proxyserver"
)

// host is the name that the certificates are made for and that clients use.
const host = "localhost"

// Lab is a running cluster. Start starts it, Close ends it.
type Lab struct {
	// Addr is the host:port of the proxy, reached directly.
	Addr string
	// BalancerAddr is that of the balancer; empty if the Config has none.
	BalancerAddr string
	Authority    *proxyserver.Authority
	Proxy        *proxyserver.Server

	config   Config
	log      *slog.Logger
	upstream string // of balancers: the proxy by another port

	ctx      context.Context
	cancel   context.CancelFunc
	closers  []func() error // in the order of starting
	running  sync.WaitGroup
	closing  sync.Once
	closeErr error

	serve    atomic.Pointer[func(net.Conn)] // who answers at Addr
	mu       sync.Mutex
	inserted []*balancer.Balancer // by PutBalancer, for Close

	keys keyCache
}

// Start starts a lab, which has all its listeners open when it returns. Ending
// ctx ends the lab like Close, which has to be called all the same.
func Start(ctx context.Context, c Config) (*Lab, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.setDefaults()
	l := &Lab{config: c, log: c.Log}
	l.ctx, l.cancel = context.WithCancel(ctx)
	if err := l.start(); err != nil {
		l.Close()
		return nil, err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	return l, nil
}

func (c *Config) setDefaults() {
	c.Cluster = cmp.Or(c.Cluster, "lab.example.com")
	c.Behave = cmp.Or(c.Behave, "v17")
	c.User = cmp.Or(c.User, "alice")
	if len(c.Roles) == 0 {
		c.Roles = []string{"access"}
	}
	if len(c.Logins) == 0 {
		c.Logins = []string{"root"}
		if c.User != "root" {
			c.Logins = append(c.Logins, c.User)
		}
	}
	if c.KeyAlgorithm == "" && c.Behave == "v14" {
		c.KeyAlgorithm = proxyserver.RSA
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func (l *Lab) start() (err error) {
	if l.Authority, err = proxyserver.NewAuthority(l.config.Cluster, l.config.KeyAlgorithm); err != nil {
		return err
	}
	front, err := listen(l.config.Listen)
	if err != nil {
		return err
	}
	l.closers = append(l.closers, front.Close)
	l.Addr = public(front)
	o := proxyserver.Options{
		Authority:         l.Authority,
		Behavior:          proxyserver.V17(),
		PublicAddr:        l.Addr,
		MySQLVersion:      l.config.MySQLVersion,
		TrustForwardedFor: l.config.TrustForwardedFor,
		ProxyProtocol:     l.config.ProxyProtocol,
		PingInterval:      l.config.PingInterval,
		Log:               l.log,
	}
	if l.config.Behave == "v14" {
		o.Behavior = proxyserver.V14()
	}
	if err := l.startBackends(&o); err != nil {
		return err
	}
	if l.Proxy, err = proxyserver.New(o); err != nil {
		return err
	}
	l.closers = append(l.closers, l.Proxy.Close)
	if err := l.startUpstream(); err != nil {
		return err
	}
	l.RemoveBalancer()
	l.running.Go(func() {
		accept.Loop(l.ctx, front, func(c net.Conn) { (*l.serve.Load())(c) })
	})
	return l.startBalancer()
}

// startUpstream opens the port that balancers reach the proxy by.
func (l *Lab) startUpstream() error {
	ln, err := listen("")
	if err != nil {
		return err
	}
	l.upstream = ln.Addr().String()
	l.running.Go(func() { l.Proxy.Serve(l.ctx, ln) })
	return nil
}

func (l *Lab) startBalancer() error {
	bc := l.config.Balancer
	if bc == nil {
		return nil
	}
	b, err := l.newBalancer(balancer.Options{
		L4: bc.L4, ALPN: bc.ALPN, Upgrades: bc.Upgrades, Refuse: bc.Refuse, Idle: bc.Idle,
		TwoForwardedFor: bc.TwoForwardedFor, ServerName: bc.ServerName,
	})
	if err != nil {
		return err
	}
	l.closers = append(l.closers, b.Close)
	ln, err := listen(bc.Listen)
	if err != nil {
		return err
	}
	l.BalancerAddr = public(ln)
	l.running.Go(func() { b.Serve(l.ctx, ln) })
	return nil
}

func (l *Lab) newBalancer(o balancer.Options) (*balancer.Balancer, error) {
	cert, err := l.Authority.WebCertificate(l.webNames()...)
	if err != nil {
		return nil, err
	}
	o.Upstream, o.Certificate, o.Log = l.upstream, cert, l.log
	o.SendProxy = l.config.ProxyProtocol == proxyserver.ProxyProtocolOn
	return balancer.New(o)
}

// PutBalancer puts a balancer between the clients of Addr and the proxy.
// Upstream, Certificate and Log are set by the lab. Connections that are open
// stay as they are; see CloseConns.
func (l *Lab) PutBalancer(o balancer.Options) error {
	b, err := l.newBalancer(o)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.inserted = append(l.inserted, b)
	l.mu.Unlock()
	serve := b.ServeConn
	l.serve.Store(&serve)
	return nil
}

// RemoveBalancer has the proxy answer at Addr itself, as in the beginning.
func (l *Lab) RemoveBalancer() {
	serve := l.Proxy.ServeConn
	l.serve.Store(&serve)
}

// CloseConns cuts all connections of clients.
func (l *Lab) CloseConns() {
	l.Proxy.CloseConns()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.inserted {
		b.CloseConns()
	}
}

// Close ends everything and returns when nothing runs any more. It may be
// called more than once.
func (l *Lab) Close() error {
	l.closing.Do(func() {
		l.cancel()
		var errs []error
		l.mu.Lock()
		for _, b := range l.inserted {
			errs = append(errs, b.Close())
		}
		l.mu.Unlock()
		for i := len(l.closers) - 1; i >= 0; i-- {
			if err := l.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
		l.running.Wait()
		l.closeErr = errors.Join(errs...)
	})
	return l.closeErr
}

func listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", cmp.Or(addr, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return ln, nil
}

// public is how clients are to call a listener.
func public(ln net.Listener) string {
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return net.JoinHostPort(host, port)
}
