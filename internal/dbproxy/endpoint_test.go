package dbproxy

import (
	"net"
	"testing"

	"tshx/internal/identity"
)

func TestComplete(t *testing.T) {
	cert := func(user, name string, allowed ...string) identity.Identity {
		return identity.Identity{
			Database:       identity.Database{Service: "x", User: user, Name: name},
			AllowedDBUsers: allowed, AllowedDBNames: allowed,
		}
	}
	tests := []struct {
		name    string
		engine  *Engine
		flags   Endpoint
		id      identity.Identity
		want    Endpoint
		missing string
	}{
		{"flags win", &postgres, Endpoint{User: "f", Name: "g"}, cert("u", "n"), Endpoint{User: "f", Name: "g"}, ""},
		{"certificate", &postgres, Endpoint{}, cert("u", "n", "solo"), Endpoint{User: "u", Name: "n"}, ""},
		{"only one allowed", &postgres, Endpoint{}, cert("", "", "solo"), Endpoint{User: "solo", Name: "solo"}, ""},
		{"any allowed is no choice", &postgres, Endpoint{}, cert("", "", "*"), Endpoint{}, "user"},
		{"two allowed are a choice", &postgres, Endpoint{User: "f"}, cert("", "", "a", "b"), Endpoint{User: "f"}, "name"},
		{"name not needed", &mysql, Endpoint{}, cert("", "", "solo"), Endpoint{User: "solo"}, ""},
		{"CockroachDB needs no name", &cockroachdb, Endpoint{}, cert("u", ""), Endpoint{User: "u"}, ""},
		{"redis default", &redis, Endpoint{}, cert("", "", "solo"), Endpoint{User: "default"}, ""},
		{"redis certificate", &redis, Endpoint{}, cert("u", "3", "solo"), Endpoint{User: "u", Name: "3"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.engine.Complete(tt.flags, tt.id)
			if got.User != tt.want.User || got.Name != tt.want.Name {
				t.Errorf("Complete = %q, %q", got.User, got.Name)
			}
			if missing := tt.engine.Missing(got); missing != tt.missing {
				t.Errorf("Missing = %q, want %q", missing, tt.missing)
			}
		})
	}
}

// TestNeedsName holds the engines against docs/protocol.md, "Databases". It does
// not say it of ClickHouse, which has a default database.
func TestNeedsName(t *testing.T) {
	without := map[string]bool{
		"mysql": true, "cockroachdb": true, "redis": true, "cassandra": true,
		"elasticsearch": true, "opensearch": true, "dynamodb": true,
		"clickhouse": true, "clickhouse-http": true,
	}
	for _, e := range engines {
		if e.NeedsName == without[e.Protocol] {
			t.Errorf("%s: NeedsName is %v", e.Protocol, e.NeedsName)
		}
	}
}

func TestEndpointAt(t *testing.T) {
	tests := []struct {
		addr   string
		tunnel bool
		want   string
	}{
		{"127.0.0.1:5", true, "127.0.0.1:5"},
		{"127.0.0.1:5", false, "localhost:5"},
		{"0.0.0.0:5", true, "localhost:5"},
		{"192.0.2.1:5", false, "192.0.2.1:5"},
		{"[::1]:5", true, "[::1]:5"},
	}
	for _, tt := range tests {
		addr, err := net.ResolveTCPAddr("tcp", tt.addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Endpoint{Tunnel: tt.tunnel, Socket: "/old"}).At(addr).Addr(); got != tt.want {
			t.Errorf("%s, tunnel %v: %s, want %s", tt.addr, tt.tunnel, got, tt.want)
		}
	}
	at := Endpoint{Host: "h", Port: "1"}.At(&net.UnixAddr{Name: "/run/s", Net: "unix"})
	if at.Addr() != "/run/s" || at.Socket != "/run/s" || at.Host != "" || at.Port != "" {
		t.Errorf("unix socket: %+v", at)
	}
}

func TestTrouble(t *testing.T) {
	tests := []struct {
		name   string
		engine *Engine
		at     Endpoint
		want   string
	}{
		{"tcp", &sqlserver, Endpoint{Host: "h", Port: "1"}, ""},
		{"no unix sockets", &sqlserver, Endpoint{Socket: "/s", Tunnel: true}, "clients of SQL Server cannot use a unix socket"},
		{"any name", &redis, Endpoint{Socket: "/s", Tunnel: true}, ""},
		{"psql's name", &postgres, Endpoint{Socket: "/run/.s.PGSQL.5433", Tunnel: true}, ""},
		{"other name", &postgres, Endpoint{Socket: "/run/db", Tunnel: true},
			"PostgreSQL clients find a unix socket only by an absolute path that ends in .s.PGSQL.PORT; listen on unix:/run/.s.PGSQL.5432"},
		{"psql in plain mode", &postgres, Endpoint{Socket: "/run/.s.PGSQL.5433"}, "PostgreSQL clients do no TLS on a unix socket; add --tunnel"},
	}
	for _, tt := range tests {
		if got := tt.engine.Trouble(tt.at); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	got := Quote([]string{"a", "", "it's", "$(rm)", "-x=/y"})
	if want := `a '' 'it'\''s' '$(rm)' -x=/y`; got != want {
		t.Errorf("Quote = %s, want %s", got, want)
	}
}

// TestProgramsAskedOnce: a program that says what it is does so once, however
// often the choice is made, and not before.
func TestProgramsAskedOnce(t *testing.T) {
	asked := 0
	at := sqlserver.Complete(Endpoint{Has: installed("sqlcmd"), Says: func(string, ...string) string {
		asked++
		return "Microsoft (R) SQL Server Command Line Tool Version 17.1.2"
	}}, identity.Identity{})
	if asked != 0 {
		t.Error("asked before there is a choice")
	}
	for range 2 {
		if c, ok := sqlserver.Client(at); !ok || c.Install != sqlserver.Clients[1].Install || asked != 1 {
			t.Errorf("%q, asked %d times", c.Install, asked)
		}
	}
}
