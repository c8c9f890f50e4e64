package dbproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"tshx/internal/conn"
)

func TestPostgresLines(t *testing.T) {
	testLines(t, &postgres, []lineTest{
		{
			"tunnel", Endpoint{Host: "127.0.0.1", Port: "5432", User: "o'neil@corp", Name: "app", Tunnel: true},
			"psql 'postgres://o%27neil%40corp@127.0.0.1:5432/app?sslmode=disable'", "postgres://o%27neil%40corp@127.0.0.1:5432/app?sslmode=disable",
			[]string{"PGHOST=127.0.0.1", "PGPORT=5432", "PGUSER=o'neil@corp", "PGDATABASE=app", "PGSSLMODE=disable", "PGGSSENCMODE=disable"},
		},
		{
			"plain", Endpoint{Host: "localhost", Port: "1", User: "alice", Files: files},
			"psql 'postgres://alice@localhost:1/?sslmode=verify-full&sslrootcert=/home/a%20b/ca.pem&sslcert=/c%26d.pem&sslkey=/k'",
			"postgres://alice@localhost:1/?sslmode=verify-full&sslrootcert=/home/a%20b/ca.pem&sslcert=/c%26d.pem&sslkey=/k",
			[]string{
				"PGHOST=localhost", "PGPORT=1", "PGUSER=alice", "PGSSLMODE=verify-full",
				"PGSSLROOTCERT=/home/a b/ca.pem", "PGSSLCERT=/c&d.pem", "PGSSLKEY=/k", "PGGSSENCMODE=disable",
			},
		},
		{
			"unix socket", Endpoint{Socket: "/run/a b/.s.PGSQL.5433", User: "alice", Name: "app", Tunnel: true},
			"psql 'postgres://alice@/app?host=/run/a%20b&port=5433&sslmode=disable'", "postgres://alice@/app?host=/run/a%20b&port=5433&sslmode=disable",
			[]string{"PGHOST=/run/a b", "PGPORT=5433", "PGUSER=alice", "PGDATABASE=app", "PGSSLMODE=disable", "PGGSSENCMODE=disable"},
		},
	})
}

func TestCockroachDBLines(t *testing.T) {
	at := Endpoint{Host: "127.0.0.1", Port: "5", User: "u", Tunnel: true}
	const url = "postgres://u@127.0.0.1:5/?sslmode=disable"
	withPsql := at
	withPsql.Has = installed("psql")
	testLines(t, &cockroachdb, []lineTest{
		{"its own client", at, "cockroach sql --url '" + url + "'", url,
			[]string{"PGHOST=127.0.0.1", "PGPORT=5", "PGUSER=u", "PGSSLMODE=disable", "PGGSSENCMODE=disable", "COCKROACH_URL=" + url}},
		{"only psql there", withPsql, "psql '" + url + "'", url, nil},
	})
}

func TestPostgresClientFile(t *testing.T) {
	plain := postgres.ClientFile(Endpoint{Host: "localhost", Port: "1", User: "alice", Name: "app", Files: files}, "real.example.com", "or'ders")
	want := ClientFile{
		Name: ".pg_service.conf", Variable: "PGSERVICEFILE", Section: "real.example.com-or'ders",
		Settings: []string{
			"host=localhost", "port=1", "user=alice", "dbname=app", "sslmode=verify-full",
			"sslrootcert=/home/a b/ca.pem", "sslcert=/c&d.pem", "sslkey=/k", "gssencmode=disable",
		},
		Use: []string{"psql", `service='real.example.com-or\'ders'`},
		Env: []string{"PGSERVICE=real.example.com-or'ders"},
	}
	if d := cmp.Diff(want, plain); d != "" {
		t.Error(d)
	}
	tunnel := postgres.ClientFile(Endpoint{Host: "127.0.0.1", Port: "1", Tunnel: true}, "c", "d")
	if d := cmp.Diff([]string{"host=127.0.0.1", "port=1", "sslmode=disable", "gssencmode=disable"}, tunnel.Settings); d != "" {
		t.Error(d)
	}
}

func encode(t testing.TB, m pgproto3.FrontendMessage) []byte {
	t.Helper()
	b, err := m.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func startup(t testing.TB) []byte {
	return encode(t, &pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "a"}})
}

func TestPostgresCancel(t *testing.T) {
	tests := []struct {
		name   string
		first  []byte
		cancel bool
	}{
		{"cancel request", encode(t, &pgproto3.CancelRequest{ProcessID: 7, SecretKey: []byte{0, 0, 0, 9}}), true},
		{"cancel request of protocol 3.2", encode(t, &pgproto3.CancelRequest{ProcessID: 7, SecretKey: make([]byte, 32)}), true},
		{"ssl request", encode(t, &pgproto3.SSLRequest{}), false},
		{"gss request", encode(t, &pgproto3.GSSEncRequest{}), false},
		{"startup", startup(t), false},
		{"nothing", nil, false},
		{"less than a head", []byte{0, 0}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, local := net.Pipe()
			go func() { client.Write(tt.first); client.Close() }()
			replay, cancel, err := postgresCancel(local)
			if len(tt.first) < 8 {
				if !errors.Is(err, conn.ErrClientGone) {
					t.Errorf("error %v, want %v", err, conn.ErrClientGone)
				}
				return
			}
			if err != nil || cancel != tt.cancel {
				t.Fatalf("cancel = %v, %v, want %v", cancel, err, tt.cancel)
			}
			if got, err := io.ReadAll(replay); err != nil || !bytes.Equal(got, tt.first) {
				t.Errorf("replayed %x, %v, want %x", got, err, tt.first)
			}
		})
	}
}

func TestPostgresSpeaks(t *testing.T) {
	start := string(startup(t))
	testSpeaks(t, &postgres,
		[]string{
			start, start[:8], string(encode(t, &pgproto3.SSLRequest{})), string(encode(t, &pgproto3.GSSEncRequest{})),
			string(encode(t, &pgproto3.CancelRequest{SecretKey: make([]byte, 32)})), "\x00\x00\x00\x09\x00\x03\x00\x02\x00",
		},
		[]string{"GET / HTTP/1.1\r\n", "*1\r\n$4\r\nPING\r\n", "\x00\x00\x00\x04\x00\x03\x00\x00", "\x00\x00\x00\x08\x00\x02\x00\x00", "\x16\x03\x01\x02\x00\x01\x00\x01"})
	for first, want := range map[string]bool{start: true, string(encode(t, &pgproto3.SSLRequest{})): false} {
		if got := postgresStartsPlain([]byte(first)); got != want {
			t.Errorf("StartsPlain(%q) = %v", first, got)
		}
	}
}

func TestPostgresRefusal(t *testing.T) {
	const text = "database \"orders\": the certificate has expired; log in again with tsh db login orders"
	tests := []struct {
		name    string
		tunnel  bool
		login   bool
		sslmode string
		want    []string
	}{
		{"tunnel", true, true, "disable", []string{"FATAL: " + text}},
		{"tunnel, TLS preferred", true, false, "prefer", []string{"FATAL: " + text}},
		{"plain, TLS preferred", false, true, "prefer", []string{"SSL error: sslv3 alert certificate expired", "FATAL: " + text}},
		{"plain, login", false, true, "require", []string{"SSL error: sslv3 alert certificate expired"}},
		{"plain, no login", false, false, "require", []string{"server sent an error response during SSL exchange"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			at := refusing(t, &postgres, tt.tunnel, Refusal{Text: text, Login: tt.login})
			out := say(t, "psql", "postgres://alice@"+at.Addr()+"/app?sslmode="+tt.sslmode, "-Xc", "select 1")
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("psql says %q, not %q", out, want)
				}
			}
		})
	}
}

// TestPostgresRefusalCode: drivers tell a program the SQLSTATE.
func TestPostgresRefusalCode(t *testing.T) {
	for login, code := range map[bool]string{true: "28000", false: "08001"} {
		at := refusing(t, &postgres, true, Refusal{Text: "no\ndatabase: \u201cx\u201d", Login: login})
		_, err := pgconn.Connect(t.Context(), postgresURL(at))
		var said *pgconn.PgError
		if !errors.As(err, &said) || said.Code != code || said.Message != "no database: ?x?" || said.Severity != "FATAL" {
			t.Errorf("login %v: %v", login, err)
		}
	}
}

// TestPostgresCancelRefused: nobody reads an answer to a cancel request.
func TestPostgresCancelRefused(t *testing.T) {
	at := refusing(t, &postgres, true, Refusal{Text: "x"})
	c, err := net.Dial("tcp", at.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(encode(t, &pgproto3.CancelRequest{SecretKey: make([]byte, 4)}))
	if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
		t.Errorf("answered %q, %v", got, err)
	}
}

func TestPostgresPing(t *testing.T) {
	for _, tt := range []struct {
		name     string
		messages []pgproto3.BackendMessage
		want     Pong
		err      error
	}{
		{"password", []pgproto3.BackendMessage{&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}},
			Pong{Note: "the server wants a password"}, nil},
		{"refused", []pgproto3.BackendMessage{&pgproto3.ErrorResponse{Code: "28000", Message: "no"}}, Pong{}, &ServerError{"28000", "no"}},
		{"CockroachDB", []pgproto3.BackendMessage{
			&pgproto3.AuthenticationOk{}, &pgproto3.ParameterStatus{Name: "server_version", Value: "13.0.0"},
			&pgproto3.ParameterStatus{Name: "crdb_version", Value: "CockroachDB CCL v24.1.0"},
			&pgproto3.ReadyForQuery{TxStatus: 'I'}, &pgproto3.EmptyQueryResponse{}, &pgproto3.ReadyForQuery{TxStatus: 'I'},
		}, Pong{Version: "CockroachDB CCL v24.1.0"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := serve(t, func(c net.Conn) {
				b := pgproto3.NewBackend(c, c)
				b.ReceiveStartupMessage()
				for _, m := range tt.messages {
					b.Send(m)
				}
				b.Flush()
				io.Copy(io.Discard, c)
			})
			c, err := net.Dial("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got, err := cockroachdb.Ping(t.Context(), c, Endpoint{User: "u"})
			got.RoundTrip = 0
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			var said *ServerError
			if errors.As(err, &said) != (tt.err != nil) || said != nil && cmp.Diff(tt.err, err) != "" {
				t.Errorf("error %v, want %v", err, tt.err)
			}
		})
	}
}

func FuzzPostgresCancel(f *testing.F) {
	f.Add([]byte{0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2})
	f.Add([]byte{0, 0, 0, 8, 4, 210, 22, 47})
	f.Fuzz(func(t *testing.T, first []byte) {
		client, local := net.Pipe()
		go func() { client.Write(first); client.Close() }()
		replay, _, err := postgresCancel(local)
		if err != nil {
			if len(first) >= 8 {
				t.Fatal(err)
			}
			return
		}
		if got, _ := io.ReadAll(replay); !bytes.Equal(got, first) {
			t.Fatalf("replayed %x, want %x", got, first)
		}
	})
}

// FuzzPostgresPing: whatever a server answers is a Pong or an error.
func FuzzPostgresPing(f *testing.F) {
	f.Add([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I"))
	f.Add([]byte("E\x00\x00\x00\x0cMnone\x00\x00"))
	f.Fuzz(func(t *testing.T, answer []byte) { pingWith(t, &postgres, answer) })
}

// pingWith pings a server that says answer and ends.
func pingWith(t *testing.T, e *Engine, answer []byte) {
	ours, server := net.Pipe()
	go io.Copy(io.Discard, server)
	go func() { server.Write(answer); server.Close() }()
	pong, err := e.Ping(context.Background(), ours, Endpoint{User: "u"})
	ours.Close()
	if err == nil && pong.Version == "" && pong.Note == "" && pong.RoundTrip == 0 {
		t.Errorf("%q: neither an answer nor an error", answer)
	}
}
