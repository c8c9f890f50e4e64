package proxyserver

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/reversetunnel"
	"tshx/internal/tlsroute"
)

// Heartbeats of agents: their interval, and how many may be missed
// (docs/protocol.md, "Reverse tunnels").
const (
	heartbeatInterval = reversetunnel.HeartbeatInterval
	heartbeatsMissed  = 3
	// heartbeatChannels bounds how many one agent may have at a time. It needs one.
	heartbeatChannels = 4
)

// What authenticate finds out, in ssh.Permissions.
const (
	permHost  = "host"
	permRoles = "roles"
)

// errNoHeartbeat ends a tunnel whose agent has stopped to ping.
var errNoHeartbeat = errors.New("heartbeats were missed")

// authenticate accepts hosts of the cluster: their certificates are signed by the
// host authority, hold the host's ID as user name, and give a role.
func (a *agents) authenticate(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	auth := a.server.opts.Authority
	cert, ok := key.(*ssh.Certificate)
	switch {
	case !ok:
		return nil, fmt.Errorf("host %q: a plain key, not a certificate", m.User())
	case cert.CertType != ssh.HostCert:
		return nil, fmt.Errorf("host %q: the certificate is a user's", m.User())
	case !bytes.Equal(cert.SignatureKey.Marshal(), auth.SSHHost.PublicKey().Marshal()):
		return nil, fmt.Errorf("host %q: the certificate is signed by an unknown authority", m.User())
	case cert.Extensions[extAuthority] != auth.Cluster:
		return nil, fmt.Errorf("host %q: of cluster %q, this is %q", m.User(), cert.Extensions[extAuthority], auth.Cluster)
	case len(cert.ValidPrincipals) == 0:
		return nil, fmt.Errorf("host %q: the certificate names no host", m.User())
	}
	if err := new(ssh.CertChecker).CheckCert(m.User(), cert); err != nil {
		return nil, fmt.Errorf("host %q: %w", m.User(), err)
	}
	roles, serves := cert.Extensions[extRole], false
	for _, role := range reversetunnel.Roles {
		serves = serves || reversetunnel.HasRole(roles, role)
	}
	if !serves {
		return nil, fmt.Errorf("host %q: has the role %q, and serves nothing", m.User(), roles)
	}
	return &ssh.Permissions{Extensions: map[string]string{permHost: m.User(), permRoles: roles}}, nil
}

// serveAgent ends a reverse tunnel. Clients come by here too, to find out whether
// the proxy itself answers; these leave without a word.
func (s *Server) serveAgent(_ context.Context, c net.Conn, info tlsroute.Info) {
	w := reversetunnel.NewWire(c)
	defer w.Close()
	bound := time.AfterFunc(sshTimeout, func() { w.Close() })
	sc, chans, reqs, err := ssh.NewServerConn(w, s.agents.config)
	if !bound.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		if w.Heard() {
			s.refused("agent", info.Client, fmt.Errorf("ssh handshake: %w", err))
		}
		return
	}
	t := &agent{
		conn: sc, wire: w, news: make(chan struct{}, 1),
		hostID: sc.Permissions.Extensions[permHost], roles: sc.Permissions.Extensions[permRoles],
	}
	s.agents.serve(s.ctx, t, chans, reqs)
	s.log.Info("agent gone", "agent", t.hostID, "remote", info.Client, "err", w.Lost())
}

// serve is the life of a tunnel.
func (a *agents) serve(ctx context.Context, t *agent, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.add(t)
	defer a.remove(t)
	interval := cmp.Or(a.server.opts.HeartbeatInterval, heartbeatInterval)
	missed := time.AfterFunc(heartbeatsMissed*interval, func() { t.wire.Break(errNoHeartbeat) })
	defer missed.Stop()
	var tasks sync.WaitGroup
	tasks.Go(func() { reversetunnel.KeepAlive(ctx, t.conn, t.wire) })
	tasks.Go(func() { a.discoveries(ctx, t) })
	tasks.Go(func() { a.global(t, reqs) })
	var beating atomic.Int32
	for nc := range chans {
		switch nc.ChannelType() {
		case reversetunnel.ChannelHeartbeat:
			if beating.Load() == heartbeatChannels {
				nc.Reject(ssh.ResourceShortage, "an agent needs one heartbeat channel")
				continue
			}
			beating.Add(1)
			tasks.Go(func() {
				defer beating.Add(-1)
				heartbeats(nc, func() { missed.Reset(heartbeatsMissed * interval) })
			})
		case reversetunnel.ChannelTransport:
			nc.Reject(ssh.ConnectionFailed, "this proxy has no Auth service for agents")
		default:
			// Real agents ask for one more type at once, and take "prohibited" for a
			// word about themselves.
			nc.Reject(ssh.UnknownChannelType, "this port is for agents, and has no "+nc.ChannelType()+" channels")
		}
	}
	a.remove(t) // at once: its streams have broken
	cancel()
	tasks.Wait()
}

// heartbeats calls alive for each ping of a channel.
func heartbeats(nc ssh.NewChannel, alive func()) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for r := range reqs {
		if r.Type == reversetunnel.RequestPing {
			alive()
		}
		r.Reply(false, nil) // nothing is sent where no reply is wanted
	}
}

// global answers the requests that concern the whole tunnel.
func (a *agents) global(t *agent, reqs <-chan *ssh.Request) {
	for r := range reqs {
		switch r.Type {
		case reversetunnel.RequestVersion:
			r.Reply(true, []byte(a.server.opts.Behavior.Version))
		case reversetunnel.RequestResources:
			n, err := reversetunnel.ParseAnnouncement(r.Payload)
			if err == nil {
				err = a.announced(t, n)
			}
			if err != nil {
				a.server.log.Info("announcement refused", "agent", t.hostID, "err", err)
				r.Reply(false, []byte(err.Error()))
				continue
			}
			a.server.log.Info("agent serves", "agent", t.hostID, "resources", n.Resources)
			r.Reply(true, nil)
		default:
			r.Reply(false, nil)
		}
	}
}

// discoveries tells an agent which proxies it is to have tunnels to, now and when
// that changes.
func (a *agents) discoveries(ctx context.Context, t *agent) {
	ch, reqs, err := reversetunnel.Open(ctx, t.conn, t.wire, reversetunnel.ChannelDiscovery)
	if err != nil {
		a.server.log.Debug("agent takes no discovery", "agent", t.hostID, "err", err)
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(reqs)
	for {
		a.mu.Lock()
		ids := append([]string{a.id}, a.peers...)
		a.mu.Unlock()
		if _, err := ch.SendRequest(reversetunnel.RequestDiscovery, false, reversetunnel.MarshalDiscovery(unique(ids))); err != nil {
			return
		}
		select {
		case <-t.news:
		case <-ctx.Done():
			return
		}
	}
}
