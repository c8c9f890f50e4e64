package proxyserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"tshx/internal/accept"
	"tshx/internal/tlsroute"
	"tshx/internal/webportal"
)

// Server is a running proxy. New starts it, Close ends it.
type Server struct {
	opts Options
	log  *slog.Logger

	mux       tlsroute.Mux
	hostTLS   *tls.Config // of upgraded connections, in place of the web certificate
	clientTLS *tls.Config // inner and in-protocol TLS of databases: requires a certificate
	ssh       *ssh.ServerConfig

	web    *accept.Queue
	http   *http.Server
	portal *webportal.Portal
	apps   map[string]*httpBackend // those that speak HTTP, by name
	kube   *kubeFront              // nil without Kubes
	aws    map[string]*awsBackend  // by the name of the app

	ctx    context.Context // of all connections, ended by Close
	cancel context.CancelFunc
	set    accept.Set
	agents *agents
	conns  atomic.Int64

	mu         sync.Mutex
	publicAddr string
	listeners  []net.Listener
	closing    bool
	done       sync.WaitGroup
}

// New makes the certificates of a proxy and starts its web server, which as
// yet listens nowhere.
func New(o Options) (*Server, error) {
	if o.Authority == nil {
		return nil, errors.New("proxy server needs an authority")
	}
	if !o.ProxyProtocol.Valid() {
		return nil, fmt.Errorf("proxy server: unknown proxy_protocol %q: use on, off or nothing", o.ProxyProtocol)
	}
	if o.Behavior == (Behavior{}) {
		o.Behavior = V17()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: o, log: o.Log, publicAddr: o.PublicAddr}
	if err := s.makeTLS(); err != nil {
		return nil, err
	}
	if err := s.makeSSH(); err != nil {
		return nil, err
	}
	if err := s.makeApps(); err != nil {
		return nil, err
	}
	if err := s.makeAWS(); err != nil {
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.makeAgents(); err != nil {
		s.cancel()
		return nil, err
	}
	if err := s.makeKube(); err != nil {
		s.cancel()
		return nil, err
	}
	s.makeRoutes()
	s.makeWeb()
	s.done.Go(func() { s.http.Serve(s.web) })
	return s, nil
}

func (s *Server) makeTLS() error {
	a := s.opts.Authority
	host, err := a.HostCertificate(s.publicHost())
	if err != nil {
		return err
	}
	web, err := a.WebCertificate(s.webNames()...)
	if err != nil {
		return err
	}
	s.mux.TLS = &tls.Config{
		Certificates: []tls.Certificate{web},
		NextProtos:   tlsroute.ServerProtocols(),
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    a.User.Pool(),
		MinVersion:   tls.VersionTLS12,

		DynamicRecordSizingDisabled: true, // streams want large records
	}
	s.hostTLS = s.mux.TLS.Clone()
	s.hostTLS.Certificates = []tls.Certificate{host}
	s.clientTLS = s.hostTLS.Clone()
	s.clientTLS.NextProtos = nil
	s.clientTLS.ClientAuth = tls.RequireAndVerifyClientCert
	return nil
}

func (s *Server) makeRoutes() {
	m := &s.mux
	m.Log = s.log
	m.PingInterval = s.opts.PingInterval
	m.KubeLegacy = s.opts.Behavior.KubeLegacy
	m.InnerTLS = s.clientTLS
	m.Database = &tlsroute.Handler{Serve: s.serveDatabase}
	sshTLS := s.hostTLS.Clone()
	sshTLS.ClientAuth = tls.NoClientCert
	sshTLS.NextProtos = nil
	if s.opts.Behavior.ConfirmSSH {
		sshTLS.NextProtos = []string{tlsroute.ALPNSSH}
	}
	web := tlsroute.Handler{Serve: s.serveWeb}
	m.Routes = map[string]tlsroute.Handler{
		tlsroute.ALPNSSH:           {Serve: s.serveSSH, TLS: sshTLS},
		tlsroute.ALPNHTTP1:         web,
		tlsroute.ALPNHTTP2:         web,
		tlsroute.ALPNReverseTunnel: {Serve: s.serveAgent},
		tlsroute.ALPNTCP:           {Serve: s.serveTCPApp},
		tlsroute.ALPNPostgres:      {Serve: s.servePostgres},
		tlsroute.ALPNMySQL:         {Serve: s.serveMySQL},
	}
	if addr := s.opts.AuthAddr; addr != "" {
		m.Routes[tlsroute.ALPNAuthPrefix] = s.forward("auth", addr)
	}
	if addr := s.opts.KubeAddr; addr != "" {
		kube := s.forward("kube", addr)
		m.Kube = &kube
	}
	if s.kube != nil {
		m.Kube = s.kube.handler()
	}
}

// forward returns a handler that passes connections on as they came.
func (s *Server) forward(route, addr string) tlsroute.Handler {
	return tlsroute.Handler{Forward: true, Serve: func(ctx context.Context, c net.Conn, info tlsroute.Info) {
		st, err := s.pipe(ctx, c, resource{Kind: route, Name: route, Addr: addr, Client: info.Client})
		s.finished(route, info.Client, st, err)
	}}
}

// Serve accepts connections from ln until ctx ends, ln is closed or s is; all
// of these end it with nil. It closes ln; the connections stay until they end
// or s is closed. It may be called for several listeners at once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		ln.Close()
		return net.ErrClosed
	}
	s.listeners = append(s.listeners, ln)
	s.publicAddr = cmp.Or(s.publicAddr, localAddr(ln))
	s.mu.Unlock()
	return accept.Loop(ctx, ln, s.ServeConn)
}

// ServeConn serves c in the background and owns it.
func (s *Server) ServeConn(c net.Conn) {
	s.set.Go(c, func(c net.Conn) {
		client, err := s.opts.ProxyProtocol.client(c)
		if err != nil {
			c.Close()
			s.refused("proxy protocol", c.RemoteAddr(), err)
			return
		}
		s.mux.ServeConn(s.ctx, client, nil)
	})
}

// Conns returns how many connections are open.
func (s *Server) Conns() int { return s.set.Len() }

// CloseConns cuts the open connections and goes on listening.
func (s *Server) CloseConns() { s.set.CloseConns() }

// Shutdown stops accepting, waits for the open connections until ctx ends, and
// then closes s.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopAccepting()
	s.DrainAgents()
	s.done.Go(s.drainHTTP)
	idle := make(chan struct{})
	go func() { s.set.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	err := s.Close()
	<-idle
	return err
}

// drainHTTP has HTTP clients give up the connections that they keep, and lets the
// agents go once none is left whose next request could be for them.
func (s *Server) drainHTTP() {
	var clients sync.WaitGroup
	clients.Go(func() { s.http.Shutdown(s.ctx) })
	if s.kube != nil {
		clients.Go(func() { s.kube.http.Shutdown(s.ctx) })
	}
	clients.Wait()
	s.agents.end()
}

// Close closes the listeners and all connections, also hijacked ones, and
// returns when all of them have ended.
func (s *Server) Close() error {
	s.stopAccepting()
	s.cancel()
	s.set.Close()
	s.web.Close()
	s.portal.Close()
	err := s.http.Close()
	if s.kube != nil {
		s.kube.close()
	}
	s.set.Wait()
	s.done.Wait()
	for _, b := range s.apps {
		b.close()
	}
	for _, b := range s.aws {
		b.close()
	}
	return err
}

func (s *Server) stopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for _, ln := range s.listeners {
		ln.Close()
	}
	s.listeners = nil
}

// addr is the announced host:port.
func (s *Server) addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.publicAddr, "localhost:443")
}

func (s *Server) publicHost() string {
	host, _, err := net.SplitHostPort(s.addr())
	if err != nil {
		return s.addr()
	}
	return host
}

// localAddr is how a listener is announced that has no public name.
func localAddr(ln net.Listener) string {
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return ""
	}
	return net.JoinHostPort("localhost", port)
}

// refused writes the one log line of a connection or request turned away.
func (s *Server) refused(route string, client net.Addr, err error) {
	s.log.Info("connection refused", "route", route, "remote", client, "err", err)
}
