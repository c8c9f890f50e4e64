package proxyserver

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"tshx/internal/conn"
	"tshx/internal/reversetunnel"
)

// dialTimeout bounds the way from the proxy to a backend.
const dialTimeout = 15 * time.Second

// resource is a backend to connect to, for one client.
type resource struct {
	Kind   string // one of the kinds below
	Name   string
	ID     string   // host UUID of a node; may be empty
	Addr   string   // host:port or unix:/path; empty: an agent serves it
	Client net.Addr // who it is for, where that is known
}

// The kinds of resources (docs/protocol.md, "Reverse tunnels").
const (
	kindNode = reversetunnel.KindNode
	kindDB   = reversetunnel.KindDB
	kindApp  = reversetunnel.KindApp
	kindKube = reversetunnel.KindKube
)

// dial connects to a backend, through an agent where it has no address.
func (s *Server) dial(ctx context.Context, r resource) (net.Conn, error) {
	if r.Addr == "" {
		return s.agents.dial(ctx, r)
	}
	network, addr := "tcp", r.Addr
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, network, addr)
}

// pipe joins c to a backend until both have ended, and closes c.
func (s *Server) pipe(ctx context.Context, c net.Conn, to resource) (conn.Stats, error) {
	b, err := s.dial(ctx, to)
	if err != nil {
		c.Close()
		return conn.Stats{}, fmt.Errorf("dial backend: %w", err)
	}
	return conn.Splice(ctx, c, b)
}

// finished writes the one log line of a connection.
func (s *Server) finished(route string, client net.Addr, st conn.Stats, err error) {
	args := []any{"conn", s.conns.Add(1), "route", route, "remote", client,
		"sent", st.Sent, "received", st.Received, "dur", st.Duration}
	if err == nil {
		s.log.Debug("connection closed", args...)
		return
	}
	s.log.Info("connection failed", append(args, "err", err)...)
}
