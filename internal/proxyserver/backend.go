package proxyserver

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"tshx/internal/conn"
)

// dialTimeout bounds the way from the proxy to a backend.
const dialTimeout = 15 * time.Second

// dialBackend connects to host:port or unix:/path.
func dialBackend(ctx context.Context, addr string) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	}
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, network, addr)
}

// pipe joins c to the backend at addr until both have ended, and closes c.
func (s *Server) pipe(ctx context.Context, c net.Conn, addr string) (conn.Stats, error) {
	b, err := dialBackend(ctx, addr)
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
