package reversetunnel

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/plain"
)

// RefusedError says that the proxy does not want this agent.
type RefusedError struct {
	ProxyID string
	Err     error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the proxy %s refused the agent: %v", e.ProxyID, e.Err)
}

func (e *RefusedError) Unwrap() error { return e.Err }

// UntrustedError says that the server's key does not prove that it is a proxy of
// the cluster.
type UntrustedError struct{ Err error }

func (e *UntrustedError) Error() string { return fmt.Sprintf("host key of the proxy: %v", e.Err) }

func (e *UntrustedError) Unwrap() error { return e.Err }

// final reports whether another try will not help.
func final(err error) bool {
	_, refused := errors.AsType[*RefusedError](err)
	_, untrusted := errors.AsType[*UntrustedError](err)
	return refused || untrusted
}

// tunnel is one connection to a proxy.
type tunnel struct {
	agent   *Agent
	wire    *Wire
	conn    ssh.Conn
	chans   <-chan ssh.NewChannel
	reqs    <-chan *ssh.Request
	proxyID string
	streams Streams

	refused error // why the proxy does not take what is announced

	// Of the agent, and held by its lock.
	failed   int // tries before this one
	since    time.Time
	draining bool // to be replaced
	retired  bool // and to end when its streams have
}

// connect opens a tunnel to some proxy.
func (a *Agent) connect(ctx context.Context) (*tunnel, error) {
	id, err := a.Identity()
	if err != nil {
		return nil, fmt.Errorf("identity of the agent: %w", err)
	}
	c, err := a.Dial(ctx)
	if err != nil {
		return nil, err
	}
	t := &tunnel{agent: a, wire: NewWire(c)}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { t.wire.Close() })
	err = t.handshake(id)
	if !stop() {
		err = fmt.Errorf("SSH to the proxy: %w", context.Cause(ctx))
	}
	if err != nil {
		t.wire.Close()
		return nil, err
	}
	return t, nil
}

func (t *tunnel) handshake(id Identity) error {
	var untrusted error
	var err error
	t.conn, t.chans, t.reqs, err = ssh.NewClientConn(t.wire, "", &ssh.ClientConfig{
		User:              id.HostID,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(id.Signer)},
		HostKeyAlgorithms: HostKeyAlgorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			proxyID, err := id.proxy(key)
			if err != nil {
				untrusted = err
				return err
			}
			if t.proxyID == "" { // new keys during the connection come by here too
				t.proxyID = proxyID
			}
			return nil
		},
	})
	lost := t.wire.Lost()
	switch {
	case err == nil:
		return nil
	case untrusted != nil:
		return &UntrustedError{untrusted}
	case t.proxyID != "" && errors.Is(lost, net.ErrClosed): // we have given up, not the proxy
		return &RefusedError{t.proxyID, fmt.Errorf("host %s: its certificate is not accepted", id.HostID)}
	case lost != nil:
		err = lost
	}
	return fmt.Errorf("SSH to the proxy: %w", err)
}

// proxy checks a host key, which has to be the certificate of a proxy of the
// cluster, and returns the proxy's ID: the first name in it.
//
// The name dialled is not looked for, as real agents do not: it may be that of a
// balancer in front of several proxies.
func (id Identity) proxy(key ssh.PublicKey) (string, error) {
	cert, ok := key.(*ssh.Certificate)
	switch {
	case !ok:
		return "", errors.New("it is no certificate")
	case cert.CertType != ssh.HostCert || len(cert.ValidPrincipals) == 0:
		return "", errors.New("the certificate is not one of a host")
	case !slices.ContainsFunc(id.Authorities, func(ca ssh.PublicKey) bool {
		return bytes.Equal(ca.Marshal(), cert.SignatureKey.Marshal())
	}):
		return "", errors.New("the certificate is signed by an authority that is not the cluster's")
	case !HasRole(cert.Extensions[ExtensionRole], RoleProxy):
		return "", fmt.Errorf("the certificate is that of a %q, not of a proxy", cert.Extensions[ExtensionRole])
	}
	if err := new(ssh.CertChecker).CheckCert(cert.ValidPrincipals[0], cert); err != nil {
		return "", err
	}
	name := cert.ValidPrincipals[0]
	return cmp.Or(strings.TrimSuffix(name, "."+id.Cluster), name), nil
}

// serve answers the proxy until the tunnel ends, and returns how it did. Ending
// ctx cuts it.
func (t *tunnel) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { t.wire.Close() })()
	var tasks sync.WaitGroup
	tasks.Go(func() { t.heartbeat(ctx) })
	tasks.Go(t.global)
	if t.ours() {
		tasks.Go(func() { KeepAlive(ctx, t.conn, t.wire) })
		tasks.Go(func() { t.introduce(ctx) })
	} else {
		tasks.Go(func() { say(ctx, t.conn) })
	}
	for nc := range t.chans {
		switch nc.ChannelType() {
		case ChannelTransport:
			tasks.Go(func() { t.transport(ctx, nc) })
		case ChannelDiscovery:
			tasks.Go(func() { t.discovery(nc) })
		default:
			nc.Reject(ssh.UnknownChannelType, "an agent has transport and discovery channels only")
		}
	}
	cancel()
	tasks.Wait()
	return cmp.Or(t.refused, t.wire.Lost(), net.ErrClosed)
}

// ours reports whether the proxy knows announcements and answers requests.
func (t *tunnel) ours() bool { return string(t.conn.ServerVersion()) == Banner }

// introduce tells the proxy what there is.
func (t *tunnel) introduce(ctx context.Context) {
	var all Announcement
	for _, s := range t.agent.Services {
		all.Resources = append(all.Resources, s.Resource)
	}
	err := t.announce(all)
	switch {
	case ctx.Err() != nil || t.wire.Lost() != nil:
	case err != nil:
		t.refused = &RefusedError{t.proxyID, err}
		t.wire.Close()
	default:
		t.agent.up(t)
	}
}

// announce waits for the proxy's answer.
func (t *tunnel) announce(a Announcement) error {
	slow := time.AfterFunc(announceTimeout, func() { t.wire.Break(&SilentError{After: announceTimeout}) })
	defer slow.Stop()
	ok, why, err := t.conn.SendRequest(RequestResources, true, a.Marshal())
	if err == nil && !ok && len(why) > 0 {
		return errors.New(plain.Line(string(why), maxName))
	}
	return err
}

// farewell tells the proxy that the agent leaves. Where the answer takes long, behind
// all that is under way, the tunnel is not broken for that.
func (t *tunnel) farewell() {
	if !t.ours() {
		return
	}
	told := make(chan struct{})
	go func() {
		t.conn.SendRequest(RequestResources, true, Announcement{}.Marshal()) // ends with the tunnel at the latest
		close(told)
	}()
	late := time.NewTimer(leaveTimeout)
	defer late.Stop()
	select {
	case <-told:
	case <-late.C:
	}
}

// finish ends a tunnel whose streams have ended. What they said last may still be
// on its way, and closing a socket while there is something to read resets it (RFC
// 1122, section 4.2.2.13). So the other side is asked, and answers behind all of
// that. One that does not any more is for KeepAlive, and a real proxy, which answers
// to channels alone, for Open.
func (t *tunnel) finish() {
	if t.ours() {
		t.conn.SendRequest(RequestKeepAlive, true, nil) // an error is that of a tunnel that has ended
	} else {
		Open(context.Background(), t.conn, t.wire, RequestEnd)
	}
	t.wire.Close()
}

// heartbeat pings as long as the tunnel stands. Its channel is what has a real proxy
// know the agent.
func (t *tunnel) heartbeat(ctx context.Context) {
	ch, reqs, err := Open(ctx, t.conn, t.wire, ChannelHeartbeat)
	refused, no := errors.AsType[*ssh.OpenChannelError](err)
	switch {
	case no && !t.ours():
		t.refused = &RefusedError{t.proxyID, errors.New(plain.Line(refused.Message, maxName))}
		t.wire.Close()
		return
	case err != nil && !t.ours():
		t.wire.Break(fmt.Errorf("heartbeat: %w", err))
		return
	case err != nil:
		t.agent.log().Debug("no heartbeat", "proxy", t.proxyID, "err", err)
		return
	case !t.ours():
		t.agent.up(t)
	}
	go ssh.DiscardRequests(reqs)
	tick := time.NewTicker(cmp.Or(t.agent.Heartbeat, HeartbeatInterval))
	defer tick.Stop()
	for payload := []byte(nil); ; {
		if _, err := ch.SendRequest(RequestPing, false, payload); err != nil {
			return
		}
		select {
		case now := <-tick.C:
			payload = now.UTC().AppendFormat(nil, time.RFC3339Nano)
		case <-ctx.Done():
			return
		}
	}
}

// global answers the requests that concern the whole tunnel.
func (t *tunnel) global() {
	for r := range t.reqs {
		switch r.Type {
		case RequestVersion:
			r.Reply(true, []byte(cmp.Or(t.agent.Version, "tshx")))
		case RequestReconnect:
			r.Reply(true, nil)
			t.agent.drain(t)
		default:
			r.Reply(false, nil)
		}
	}
}

// discovery takes lists of proxies as long as the proxy sends some.
func (t *tunnel) discovery(nc ssh.NewChannel) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for r := range reqs {
		ids, err := ParseDiscovery(r.Payload)
		known := r.Type == RequestDiscovery
		switch {
		case known && err == nil:
			t.agent.discovered(ids)
		case known:
			t.agent.log().Debug("discovery not understood", "proxy", t.proxyID, "err", err)
		}
		r.Reply(known && err == nil, nil) // nothing is sent where no reply is wanted
	}
}
