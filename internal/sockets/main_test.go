package sockets

import (
	"net"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProcessForeign(t *testing.T) {
	for _, tt := range []struct {
		p    Process
		uid  int
		want bool
	}{
		{Process{UID: 1001, Listens: true}, 1000, true},
		{Process{UID: 1001, Listens: true}, 0, true},
		{Process{UID: 1001}, 1000, false}, // only connected from there
		{Process{UID: 1000, Listens: true}, 1000, false},
		{Process{UID: 0, Listens: true}, 1000, false},
	} {
		if got := tt.p.Foreign(tt.uid); got != tt.want {
			t.Errorf("%+v is foreign to %d: %v", tt.p, tt.uid, got)
		}
	}
}

// What Checks promises, PeerUID keeps.
func TestChecks(t *testing.T) {
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		ln, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		client, err := net.Dial(network, ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := PeerUID(c); Checks(ln.Addr()) != (err == nil) {
			t.Errorf("%s: checks %v, but PeerUID: %v", network, Checks(ln.Addr()), err)
		}
	}
}

func TestProcessString(t *testing.T) {
	for want, p := range map[string]Process{
		"postgres (pid 812, user pg)": {PID: 812, Name: "postgres", User: "pg"},
		"a process of user 1001":      {User: "1001"},
		"a process of user a b":       {User: "a b"},
		" (pid 2, user root)":         {PID: 2, User: "root"},
		"x\n (pid 3, user somebody)":  {PID: 3, Name: "x\n", User: "somebody"},
	} {
		if got := p.String(); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
}
