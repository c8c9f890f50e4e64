package reversetunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/conn"
	"tshx/internal/plain"
)

// requestTimeout bounds how long a proxy may take to say what a channel is for.
const requestTimeout = 10 * time.Second

// maxReason bounds the words of a refusal, in bytes.
const maxReason = 1 << 10

// transport serves one channel.
func (t *tunnel) transport(ctx context.Context, nc ssh.NewChannel) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return // the tunnel is gone
	}
	end := t.streams.Begin()
	r := first(ctx, reqs)
	if r == nil || r.Type != RequestDial {
		if r != nil {
			r.Reply(false, nil)
		}
		go ssh.DiscardRequests(reqs)
		ch.Close()
		end()
		return
	}
	stream := NewStream(ch, reqs, t.wire, end)
	log := t.agent.log().With("proxy", t.proxyID)
	req, err := ParseDial(r.Payload)
	var s *Service
	if err == nil {
		s, err = t.agent.find(req)
	}
	var backend net.Conn
	if err == nil && s.Dial != nil {
		if backend, err = s.dial(ctx, stream, req); err != nil {
			err = fmt.Errorf("%s: %w", s.Resource, err)
		}
	}
	if err != nil {
		log.Info("connection refused", "client", req.ClientSrc, "err", err)
		io.WriteString(ch.Stderr(), plain.Line(err.Error(), maxReason))
		r.Reply(false, nil)
		stream.Close()
		return
	}
	r.Reply(true, nil)
	if s.Dial == nil {
		s.Serve(ctx, stream)
		return
	}
	st, err := conn.Splice(ctx, stream, backend)
	log.Debug("connection closed", "resource", s.String(), "client", req.ClientSrc,
		"sent", st.Sent, "received", st.Received, "dur", st.Duration, "err", err)
}

// first waits for the first request of a channel; nil if none comes.
func first(ctx context.Context, reqs <-chan *ssh.Request) *ssh.Request {
	late := time.NewTimer(requestTimeout)
	defer late.Stop()
	select {
	case r := <-reqs:
		return r
	case <-late.C:
	case <-ctx.Done():
	}
	return nil
}

// dial connects to the resource, for as long as the proxy waits.
func (s *Service) dial(ctx context.Context, stream *Stream, r DialRequest) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-stream.Ended():
			cancel()
		case <-ctx.Done():
		}
	}()
	return s.Dial(ctx, r)
}

// find returns the service that a request means. Where it gives no name of a
// resource, the address may be one, or the agent may have only one of the kind.
// Nothing else is ever dialled.
func (a *Agent) find(r DialRequest) (*Service, error) {
	var all []*Service
	for i := range a.Services {
		s := &a.Services[i]
		if s.Kind != r.ConnType {
			continue
		}
		if s.Name == r.Resource || r.Resource == "" && s.Name == hostOf(r.Address) {
			return s, nil
		}
		all = append(all, s)
	}
	switch {
	case r.Resource != "":
		return nil, fmt.Errorf("this agent has no %s %q", plain.Copyable(r.ConnType), r.Resource)
	case r.Address != AddressLocal && (r.ConnType != KindKube || r.Address != AddressKube):
		return nil, fmt.Errorf("this agent does not connect to %q", r.Address)
	case len(all) == 1:
		return all[0], nil
	case len(all) == 0:
		return nil, fmt.Errorf("this agent has no resource of the kind %q", r.ConnType)
	}
	return nil, errors.New("this agent has several resources of the kind: the request has to name one")
}

func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return strings.TrimSpace(addr)
}
