//go:build linux

package dbproxy_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/dbproxy"
)

// peerOf starts a real server. Without its programs the test is skipped, or
// fails on CI.
func peerOf(t *testing.T, s *peer.Server, err error) *peer.Server {
	t.Helper()
	var missing *peer.MissingError
	switch {
	case errors.As(err, &missing) && os.Getenv("CI") == "":
		t.Skip(missing)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func ping(t *testing.T, protocol, addr string, at dbproxy.Endpoint) (dbproxy.Pong, error) {
	t.Helper()
	e, err := dbproxy.Lookup(protocol)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	return e.Ping(ctx, c, at)
}

// TestPingServers asks real servers for their version.
func TestPingServers(t *testing.T) {
	account := peer.Account{User: "alice", Database: "orders"}
	for _, tt := range []struct {
		protocol string
		start    func() (*peer.Server, error)
		version  string // a part of it
		stranger string // what is said to a user that is not known; empty: nothing
	}{
		{"postgres", func() (*peer.Server, error) { return peer.StartPostgres(account) }, "1", `role "nobody" does not exist`},
		{"mysql", func() (*peer.Server, error) { return peer.StartMariaDB(account) }, "MariaDB", "Access denied for user 'nobody'"},
		{"redis", peer.StartRedis, ".", ""},
	} {
		t.Run(tt.protocol, func(t *testing.T) {
			s, err := tt.start()
			addr := peerOf(t, s, err).Addr
			pong, err := ping(t, tt.protocol, addr, dbproxy.Endpoint{User: "alice", Name: "orders", Tunnel: true})
			if err != nil || !strings.Contains(pong.Version, tt.version) || pong.RoundTrip <= 0 || pong.Note != "" {
				t.Errorf("%+v, %v", pong, err)
			}
			t.Logf("%+v", pong)
			_, err = ping(t, tt.protocol, addr, dbproxy.Endpoint{User: "nobody", Tunnel: true})
			var said *dbproxy.ServerError
			if tt.stranger != "" && (!errors.As(err, &said) || !strings.Contains(said.Text, tt.stranger)) {
				t.Errorf("a stranger is told %v", err)
			}
		})
	}
}
