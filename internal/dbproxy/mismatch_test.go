package dbproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tshx/internal/conn"
	"tshx/internal/tlsroute"
)

// dialFunc is a Dialer made of a function.
type dialFunc func(ctx context.Context, r tlsroute.Route) (net.Conn, error)

func (f dialFunc) Dial(ctx context.Context, r tlsroute.Route) (net.Conn, error) { return f(ctx, r) }

// slow dials until the context ends.
func slow(ctx context.Context, _ tlsroute.Route) (net.Conn, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// silent dials at once and reaches a server that takes everything, says nothing
// and ends with the client.
func silent(context.Context, tlsroute.Route) (net.Conn, error) {
	ours, server := net.Pipe()
	go func() { io.Copy(io.Discard, server); server.Close() }()
	return ours, nil
}

// misled returns the address of a local proxy whose clients get as far as the
// mismatch, and the errors of their dials.
func misled(t *testing.T, up *Upstream) (Endpoint, chan error) {
	up.Database = "orders"
	errs := make(chan error, 10)
	addr := serve(t, func(c net.Conn) {
		cl, remote, err := up.Dial(t.Context(), c)
		errs <- err
		if err == nil {
			remote.Close()
			return
		}
		var hint interface{ Hint() string }
		if errors.As(err, &hint) {
			up.Refuse(cl, Refusal{Text: err.Error() + "; " + hint.Hint()})
		}
	})
	host, port, _ := net.SplitHostPort(addr)
	return Endpoint{Host: host, Port: port, User: "alice", Tunnel: true}, errs
}

// TestWrongClient runs the real programs against databases that are not theirs,
// and against the right ones in the wrong mode.
func TestWrongClient(t *testing.T) {
	psql := func(e Endpoint) []string {
		return []string{"psql", "postgres://alice@" + e.Addr() + "/x", "-Xc", "select 1"}
	}
	rediscli := func(e Endpoint) []string { return []string{"redis-cli", "-h", e.Host, "-p", e.Port, "get", "x"} }
	curl := func(e Endpoint) []string { return []string{"curl", "-sS", "http://" + e.Addr() + "/"} }
	const notPostgres = `database "orders" is PostgreSQL, but the client speaks `
	const alert = "alert internal error"
	tests := []struct {
		name   string
		engine *Engine
		tunnel bool
		client func(Endpoint) []string
		want   string
	}{
		{"psql on redis", &redis, true, psql, `FATAL: database "orders" is Redis, but the client speaks PostgreSQL; use redis-cli or another client of Redis`},
		{"psql on mysql", &mysql, true, psql, `FATAL: database "orders" is MySQL, but the client speaks PostgreSQL; use mysql or another client of MySQL`},
		{"psql on mongodb", &mongodb, true, psql, `FATAL: database "orders" is MongoDB, but the client speaks PostgreSQL`},
		{"redis-cli on postgres", &postgres, true, rediscli, "ERR " + notPostgres + "Redis; use psql or another client of PostgreSQL"},
		{"redis-cli on cockroachdb", &cockroachdb, true, rediscli, `ERR database "orders" is CockroachDB, but the client speaks Redis; use cockroach or another client of CockroachDB`},
		{"redis-cli on mysql", &mysql, true, rediscli, `ERR database "orders" is MySQL, but the client speaks Redis`},
		{"curl on postgres", &postgres, true, curl, notPostgres},
		{"curl on redis", &redis, true, curl, `database "orders" is Redis, but the client speaks `},
		{"curl on mysql", &mysql, true, curl, `database "orders" is MySQL, but the client speaks `},
		{"psql on redis without tunnel", &redis, false, psql, `FATAL: database "orders" is Redis, but the client speaks PostgreSQL`},
		{"redis-cli without TLS", &redis, false, rediscli,
			`ERR database "orders" is Redis without --tunnel, where clients do TLS themselves, but the client started without; add --tunnel, or turn TLS on in the client`},
		{"psql without TLS", &postgres, false,
			func(e Endpoint) []string {
				return []string{"psql", "postgres://alice@" + e.Addr() + "/x?sslmode=disable", "-Xc", "select 1"}
			},
			`FATAL: database "orders" is PostgreSQL without --tunnel, where clients do TLS themselves, but the client started without; add --tunnel, or turn TLS on in the client`},
		{"redis-cli with TLS in a tunnel", &redis, true,
			func(e Endpoint) []string {
				return []string{"redis-cli", "-h", e.Host, "-p", e.Port, "--tls", "--insecure", "get", "x"}
			}, alert},
		{"curl with TLS on postgres", &postgres, false,
			func(e Endpoint) []string { return []string{"curl", "-sS", "https://" + e.Addr() + "/"} }, alert},
	}
	for _, tt := range tests {
		dials := map[string]dialFunc{"slow dial": slow}
		if !tt.engine.ServerFirst { // there the server's greeting may win
			dials["quick dial"] = silent
		}
		for name, dial := range dials {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				at, errs := misled(t, &Upstream{Engine: tt.engine, Tunnel: tt.tunnel, Dialer: dial})
				if out := say(t, tt.client(at)...); !strings.Contains(out, tt.want) {
					t.Errorf("it says %q, not %q", out, tt.want)
				}
				var wrong *MismatchError
				if err := <-errs; !errors.As(err, &wrong) || wrong.Hint() == "" {
					t.Errorf("the dial says %v", err)
				}
			})
		}
	}
}

// TestRightClient: the bytes of a client of the database come to the server,
// however long the dial took.
func TestRightClient(t *testing.T) {
	tests := []struct {
		engine *Engine
		tunnel bool
		first  string
	}{
		{&postgres, true, string(startup(t))},
		{&postgres, false, string(encodeSSLRequest)},
		{&redis, true, "*1\r\n$4\r\nPING\r\n"},
		{&redis, false, "\x16\x03\x01\x02\x00"},
		{&mysql, true, "whatever nobody knows"},
		{&redis, true, "\xff\xfe no engine's own"},
		{&redis, true, "HSET k f v\r\n"},
		{&redis, true, "INCR x\r\n"},
		{&redis, true, "\r\n"},
		{&redis, true, "p"},
		{&redis, true, "PIN"},
		{&redis, true, "\x16"},
		{&redis, true, "\x16\x03\x01"},
		{&mongodb, true, "\x16\x03\x00\x00\x07\x01\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00"}, // 790 bytes long
		{&postgres, true, "\x00"},
		{&postgres, false, string(encodeSSLRequest)},
		{&elasticsearch, true, "GE"},
		{&elasticsearch, true, "\r\nPROPFIND / HTTP/1.1\r\n\r\n"},
		{&elasticsearch, true, "GET /" + strings.Repeat("a", lookBytes) + " HTTP/1.1\r\nHost: localhost\r\n\r\n"},
		{&redis, true, strings.Repeat("*1\r\n$4\r\nPING\r\n", 1000)},
	}
	for _, tt := range tests {
		for name, wait := range map[string]bool{"slow": true, "quick": false} {
			spoken := make(chan struct{})
			up := &Upstream{Engine: tt.engine, Tunnel: tt.tunnel, Dialer: dialFunc(func(context.Context, tlsroute.Route) (net.Conn, error) {
				if wait {
					<-spoken
				}
				return silent(t.Context(), tlsroute.Route{})
			})}
			heard := make(chan []byte, 1)
			addr := serve(t, func(c net.Conn) {
				cl, remote, err := up.Dial(t.Context(), c)
				if err != nil {
					t.Error(err)
					heard <- nil
					return
				}
				defer remote.Close()
				b, err := io.ReadAll(cl)
				if err != nil { // the deadline of the look would show here
					t.Error(err)
				}
				heard <- b
			})
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(c, tt.first)
			c.(*net.TCPConn).CloseWrite()
			close(spoken)
			if got := <-heard; string(got) != tt.first {
				t.Errorf("%s on %s, %s dial: heard %q", tt.first, tt.engine.Title, name, got)
			}
			c.Close()
		}
	}
}

// TestPieces: the beginning of a protocol, in a first piece that is shorter than
// proof, refuses nobody.
func TestPieces(t *testing.T) {
	words := []string{
		string(startup(t)), "*1\r\n$4\r\nPING\r\n", "PING\r\nPING\r\n", "GET / HTTP/1.1\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01",
		string(mongoEncode(mongoOpMsg, 0, nil)), string(tdsClientPrelogin), string(cqlClientOptions), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	}
	for _, e := range engines {
		for _, tunnel := range []bool{true, false} {
			for _, w := range words {
				for n := range proof {
					if err := (&Upstream{Engine: e, Tunnel: tunnel}).judge([]byte(w[:n])); err != nil {
						t.Errorf("%q: %v", w[:n], err)
					}
				}
			}
		}
	}
}

var encodeSSLRequest = []byte{0, 0, 0, 8, 4, 210, 22, 47}

// TestLookWaits: a silent client holds up nobody, but for the bounded time in
// which nothing could happen anyway.
func TestLookWaits(t *testing.T) {
	for engine, want := range map[*Engine]time.Duration{&mysql: lookServerFirst, &redis: lookTime} {
		synctest.Test(t, func(t *testing.T) {
			client, local := net.Pipe()
			defer client.Close()
			start := time.Now()
			cl, remote, err := (&Upstream{Engine: engine, Tunnel: true, Dialer: dialFunc(silent)}).Dial(t.Context(), local)
			if err != nil || time.Since(start) != want {
				t.Errorf("%s: after %v: %v", engine.Title, time.Since(start), err)
			}
			remote.Close()
			go client.Write([]byte("later"))
			buf := make([]byte, 10)
			if n, err := cl.Read(buf); string(buf[:n]) != "later" {
				t.Errorf("%s: read %q, %v", engine.Title, buf[:n], err)
			}
		})
	}
}

// TestClientLeavesDial: a client that resets ends its dial.
func TestClientLeavesDial(t *testing.T) {
	at, errs := misled(t, &Upstream{Engine: &redis, Tunnel: true, Dialer: dialFunc(slow)})
	c, err := net.Dial("tcp", at.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	if err := <-errs; !errors.Is(err, conn.ErrClientGone) {
		t.Errorf("the dial says %v", err)
	}
}

func TestDialFails(t *testing.T) {
	failed := errors.New("no way")
	for _, e := range []*Engine{&redis, &mysql} {
		client, local := net.Pipe()
		up := &Upstream{Engine: e, Tunnel: true, Dialer: dialFunc(func(context.Context, tlsroute.Route) (net.Conn, error) { return nil, failed })}
		cl, remote, err := up.Dial(t.Context(), local)
		if !errors.Is(err, failed) || cl == nil || remote != nil {
			t.Errorf("%s: %v, %v, %v", e.Title, cl, remote, err)
		}
		client.Close()
		local.Close()
	}
}

// TestCertificateShown: in plain mode only to a client that cannot show one of
// its own.
func TestCertificateShown(t *testing.T) {
	cancel := []byte{0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2}
	for _, tt := range []struct {
		tunnel bool
		first  []byte
		shown  bool
	}{{true, encodeSSLRequest, true}, {true, cancel, true}, {false, cancel, true}, {false, encodeSSLRequest, false}} {
		var shown bool
		up := &Upstream{
			Engine: &postgres, Tunnel: tt.tunnel, Cert: func() (*tls.Certificate, error) { return nil, nil },
			Dialer: dialFunc(func(ctx context.Context, r tlsroute.Route) (net.Conn, error) {
				shown = r.Certificate != nil
				return silent(ctx, r)
			}),
		}
		client, local := net.Pipe()
		go client.Write(tt.first)
		_, remote, err := up.Dial(t.Context(), local)
		if err != nil {
			t.Fatal(err)
		}
		remote.Close()
		client.Close()
		if shown != tt.shown {
			t.Errorf("tunnel %v, %x: certificate shown: %v", tt.tunnel, tt.first, shown)
		}
	}
}

// TestRefuseSilent: neither silence nor a flood keeps a refusal from its end.
func TestRefuseSilent(t *testing.T) {
	for _, e := range engines {
		synctest.Test(t, func(t *testing.T) {
			client, local := net.Pipe()
			go io.Copy(io.Discard, client)
			start := time.Now()
			(&Upstream{Engine: e, Tunnel: true}).Refuse(local, Refusal{Text: "x"})
			if took := time.Since(start); took > refuseTime+refuseEnd {
				t.Errorf("%s: after %v", e.Title, took)
			}
			client.Close()
			local.Close()
		})
	}
}

// TestForeign: first bytes of real clients are known for what they are.
func TestForeign(t *testing.T) {
	for first, want := range map[string]*Engine{
		string(startup(t)):             &postgres,
		string(encodeSSLRequest):       &postgres,
		"*1\r\n$4\r\nPING\r\n":         &redis,
		"\x16\x03\x01":                 nil,
		"SSH-2.0-OpenSSH_9.2p1\r\n":    nil,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n": &spanner,
	} {
		if got := mysql.foreign([]byte(first)); got != want {
			t.Errorf("%q is %v, want %v", first, got, want)
		}
	}
	if got := mysql.foreign([]byte("GET / HTTP/1.1\r\n")); got == nil || !got.Speaks([]byte("POST / HTTP/1.1\r\n")) {
		t.Errorf("HTTP is %v", got)
	}
	if got := clickhouse.foreign([]byte("GET / HTTP/1.1\r\n")); got != nil && got != &clickhouseHTTP {
		t.Errorf("HTTP on ClickHouse is %s", got.Title)
	}
}

// FuzzSpeaks: first bytes make no engine panic, and none is foreign to itself.
func FuzzSpeaks(f *testing.F) {
	f.Add([]byte{0, 0, 0, 8, 4, 210, 22, 47})
	f.Add([]byte("*1\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte("\x16\x03\x01"))
	f.Fuzz(func(t *testing.T, first []byte) {
		if len(first) < proof {
			return
		}
		for _, e := range engines {
			other := e.foreign(first)
			if other == e || other != nil && !other.Speaks(first) {
				t.Errorf("%s: foreign is %v", e.Title, other)
			}
			for _, tunnel := range []bool{true, false} {
				var wrong *MismatchError
				err := (&Upstream{Engine: e, Database: "x", Tunnel: tunnel}).judge(first)
				if err != nil && (!errors.As(err, &wrong) || wrong.Error() == "" || wrong.Hint() == "") {
					t.Errorf("%s: %v", e.Title, err)
				}
			}
		}
	})
}

// FuzzRefuse: no client's words make a refusal panic or go on for ever.
func FuzzRefuse(f *testing.F) {
	for i := range engines {
		f.Add(byte(i), true, []byte{0, 0, 0, 8, 4, 210, 22, 47})
		f.Add(byte(i), false, []byte("GET / HTTP/1.1\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, engine byte, tunnel bool, said []byte) {
		client, local := net.Pipe()
		go func() { io.Copy(client, bytes.NewReader(said)); local.Close() }()
		go io.Copy(io.Discard, client)
		e := engines[int(engine)%len(engines)]
		(&Upstream{Engine: e, Tunnel: tunnel}).Refuse(local, Refusal{Text: "no"})
		local.Close()
		client.Close()
	})
}
