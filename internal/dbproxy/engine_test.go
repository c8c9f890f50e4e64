package dbproxy

import (
	"errors"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/identity"
)

var files = Files{CA: "/home/a b/ca.pem", Cert: "/c&d.pem", Key: "/k"}

func TestLines(t *testing.T) {
	all := func(string) bool { return true }
	tests := []struct {
		name     string
		protocol string
		at       Endpoint
		command  string
		url      string
	}{
		{
			"postgres tunnel", "postgres", Endpoint{Host: "127.0.0.1", Port: "5432", User: "o'neil@corp", Name: "app", Tunnel: true},
			"psql 'postgres://o%27neil%40corp@127.0.0.1:5432/app'", "postgres://o%27neil%40corp@127.0.0.1:5432/app",
		},
		{
			"postgres plain", "postgres", Endpoint{Host: "localhost", Port: "1", User: "alice", Files: files},
			"psql 'postgres://alice@localhost:1/?sslmode=verify-full&sslrootcert=/home/a%20b/ca.pem&sslcert=/c%26d.pem&sslkey=/k'",
			"postgres://alice@localhost:1/?sslmode=verify-full&sslrootcert=/home/a%20b/ca.pem&sslcert=/c%26d.pem&sslkey=/k",
		},
		{
			"mysql tunnel", "mysql", Endpoint{Host: "127.0.0.1", Port: "3306", User: "alice", Name: "shop", Tunnel: true},
			"mysql --protocol=TCP --host=127.0.0.1 --port=3306 --user=alice --database=shop", "mysql://alice@127.0.0.1:3306/shop",
		},
		{
			"mysql plain", "mysql", Endpoint{Host: "localhost", Port: "1", Files: files},
			"mysql --protocol=TCP --host=localhost --port=1 '--ssl-ca=/home/a b/ca.pem' '--ssl-cert=/c&d.pem' --ssl-key=/k --ssl-mode=VERIFY_IDENTITY",
			"mysql://localhost:1/",
		},
		{
			"mariadb plain", "mysql", Endpoint{Host: "localhost", Port: "1", Files: files, Has: all},
			"mariadb --protocol=TCP --host=localhost --port=1 '--ssl-ca=/home/a b/ca.pem' '--ssl-cert=/c&d.pem' --ssl-key=/k --ssl-verify-server-cert",
			"mysql://localhost:1/",
		},
		{
			"redis tunnel", "redis", Endpoint{Host: "127.0.0.1", Port: "6379", User: "default", Name: "2", Tunnel: true},
			"redis-cli -h 127.0.0.1 -p 6379 -n 2", "redis://127.0.0.1:6379/2",
		},
		{
			"redis plain", "redis", Endpoint{Host: "::1", Port: "6379", Files: Files{"/ca", "/c", "/k"}},
			"redis-cli -h ::1 -p 6379 --tls --cacert /ca --cert /c --key /k", "rediss://[::1]:6379/",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := Lookup(tt.protocol)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.command, Quote(e.Command(tt.at))); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.url, e.URL(tt.at)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestLookupUnknown(t *testing.T) {
	_, err := Lookup("oracle9")
	var unknown *UnknownEngineError
	if !errors.As(err, &unknown) || unknown.Protocol != "oracle9" {
		t.Fatalf("Lookup = %v", err)
	}
}

func TestRouteOffersPingFirst(t *testing.T) {
	for _, p := range Protocols() {
		e, err := Lookup(p)
		if err != nil {
			t.Fatal(err)
		}
		r := e.Route("x", nil)
		if d := cmp.Diff([]string{"teleport-" + p + "-ping", "teleport-" + p}, r.ALPN); d != "" || r.HostCert {
			t.Errorf("%s: %s host certificate %v", p, d, r.HostCert)
		}
	}
}

func TestComplete(t *testing.T) {
	cert := func(user, name string, allowed ...string) identity.Identity {
		return identity.Identity{Database: identity.Database{Service: "x", User: user, Name: name}, AllowedDBUsers: allowed}
	}
	tests := []struct {
		name   string
		engine *Engine
		flags  Endpoint
		id     identity.Identity
		want   Endpoint
	}{
		{"flags win", &postgres, Endpoint{User: "f", Name: "g"}, cert("u", "n"), Endpoint{User: "f", Name: "g"}},
		{"certificate", &postgres, Endpoint{}, cert("u", "n"), Endpoint{User: "u", Name: "n"}},
		{"only one allowed", &postgres, Endpoint{}, cert("", "", "solo"), Endpoint{User: "solo"}},
		{"any allowed is no choice", &postgres, Endpoint{}, cert("", "", "*"), Endpoint{}},
		{"redis default", &redis, Endpoint{}, cert("", "", "solo"), Endpoint{User: "default"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.engine.Complete(tt.flags, tt.id); got.User != tt.want.User || got.Name != tt.want.Name {
				t.Errorf("Complete = %q, %q", got.User, got.Name)
			}
		})
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
		if got := (Endpoint{Tunnel: tt.tunnel}).At(addr).Addr(); got != tt.want {
			t.Errorf("%s, tunnel %v: %s, want %s", tt.addr, tt.tunnel, got, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	got := Quote([]string{"a", "", "it's", "$(rm)", "-x=/y"})
	if want := `a '' 'it'\''s' '$(rm)' -x=/y`; got != want {
		t.Errorf("Quote = %s, want %s", got, want)
	}
}
