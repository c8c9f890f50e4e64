package proxyserver

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/plain"
	"tshx/internal/reversetunnel"
)

// reasonTimeout bounds the wait for an agent's words once it is clear that it has
// refused; reasonMax cuts them, in bytes.
const (
	reasonTimeout = time.Second
	reasonMax     = 1 << 10
)

// open asks one agent for a stream to a resource.
func (a *agents) open(ctx context.Context, t *agent, r resource) (net.Conn, error) {
	ch, reqs, err := reversetunnel.Open(ctx, t.conn, t.wire, reversetunnel.ChannelTransport)
	if err != nil {
		return nil, err
	}
	end := t.streams.Begin()
	stop := context.AfterFunc(ctx, func() { ch.Close() })
	ok, err := ch.SendRequest(reversetunnel.RequestDial, true, a.request(t, r).Marshal())
	switch {
	case !stop():
		err = context.Cause(ctx)
	case err != nil:
		err = errors.New("the tunnel broke before the agent had answered")
	case !ok:
		err = reason(ch)
	default:
		return reversetunnel.NewStream(ch, reqs, t.wire, end), nil
	}
	go ssh.DiscardRequests(reqs)
	ch.Close()
	end()
	return nil, err
}

func (a *agents) request(t *agent, r resource) reversetunnel.DialRequest {
	q := reversetunnel.DialRequest{
		Address:   reversetunnel.AddressLocal,
		ServerID:  t.hostID + "." + a.server.opts.Authority.Cluster,
		ConnType:  r.Kind,
		Version:   a.server.opts.Behavior.Version,
		ClientDst: a.server.addr(),
		Resource:  r.Name,
	}
	if r.Client != nil {
		q.ClientSrc = r.Client.String()
	}
	return q
}

// reason reads why an agent has refused.
func reason(ch ssh.Channel) error {
	late := time.AfterFunc(reasonTimeout, func() { ch.Close() })
	defer late.Stop()
	b, _ := io.ReadAll(io.LimitReader(ch.Stderr(), reasonMax))
	text := plain.Line(string(b), 0)
	if strings.TrimSpace(text) == "" {
		return errors.New("the agent refused")
	}
	return errors.New("the agent refused: " + text)
}
