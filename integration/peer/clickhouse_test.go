//go:build linux

package peer_test

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/dbproxy"
)

// TestClickHouse pings a real server by both protocols, and runs the printed
// command lines against it.
func TestClickHouse(t *testing.T) {
	srv := need(t, func() (*peer.Server, error) {
		return peer.StartClickHouse(peer.Account{User: "alice", Database: "shop"})
	})
	defer srv.Close()
	for i, protocol := range []string{"clickhouse", "clickhouse-http"} {
		t.Run(protocol, func(t *testing.T) {
			e, at := engineAt(t, protocol, srv.Addrs[i])
			pong, err := ping(t, e, at, srv.Addrs[i])
			if err != nil || pong.RoundTrip <= 0 || pong.Note != "" || strings.Count(pong.Version, ".") < 2 {
				t.Errorf("%+v, %v", pong, err)
			}
			stranger := at
			stranger.User = "bob"
			if pong, err := ping(t, e, stranger, srv.Addrs[i]); err != nil || pong.Note == "" || pong.Version != "" {
				t.Errorf("%+v, %v for a user that is not there", pong, err)
			}
			at.Name = "nowhere"
			_, err = ping(t, e, at, srv.Addrs[i])
			if said, ok := errors.AsType[*dbproxy.ServerError](err); !ok || said.Code != "81" {
				t.Errorf("%v for a database that is not there", err)
			}
		})
	}
	t.Run("clickhouse-client", func(t *testing.T) {
		need(t, func() (string, error) { return peer.Find("clickhouse-client") })
		e, at := engineAt(t, "clickhouse", srv.Addr)
		argv := append(e.Command(at), "--query", "select 6*7")
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).Output(); err != nil || string(out) != "42\n" {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("curl", func(t *testing.T) {
		need(t, func() (string, error) { return peer.Find("curl") })
		e, at := engineAt(t, "clickhouse-http", srv.Addrs[1])
		argv := append(e.Command(at), "-sS")
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).Output(); err != nil || strings.Count(string(out), ".") < 2 {
			t.Errorf("%q, %v", out, err)
		}
	})
}

// engineAt is an engine with the endpoint of its server.
func engineAt(t *testing.T, protocol, addr string) (*dbproxy.Engine, dbproxy.Endpoint) {
	t.Helper()
	e, err := dbproxy.Lookup(protocol)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return e, dbproxy.Endpoint{Host: host, Port: port, Tunnel: true, User: "alice", Name: "shop"}
}

func ping(t *testing.T, e *dbproxy.Engine, at dbproxy.Endpoint, addr string) (dbproxy.Pong, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	return e.Ping(ctx, c, at)
}
