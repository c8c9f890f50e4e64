package proxyserver

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"tshx/internal/conn"
	"tshx/internal/identity"
)

func pgRequest(code uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), code)
}

func pgStartup(user string) []byte {
	body := "user\x00" + user + "\x00\x00"
	m := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint32(m, 3<<16), body...)
}

func pgCancel() []byte {
	m := binary.BigEndian.AppendUint32(nil, 16)
	m = binary.BigEndian.AppendUint32(m, pgCancelRequest)
	return append(m, "pid!key!"...)
}

// ask sends a request for encryption and returns the one byte of the answer.
func ask(t *testing.T, c net.Conn, code uint32) byte {
	t.Helper()
	var b [1]byte
	if _, err := c.Write(pgRequest(code)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b[:]); err != nil {
		t.Fatalf("no answer to %d: %v", code, err)
	}
	return b[0]
}

// rest reads until the server closes; how it closes is its own matter.
func rest(c net.Conn) string {
	b, _ := io.ReadAll(c)
	return string(b)
}

func TestPostgresFront(t *testing.T) {
	db := backend(t, echo) // shows what reached the backend
	f := start(t, Options{Databases: []Database{
		{Name: "orders", Protocol: "postgres", Addr: db},
		{Name: "roach", Protocol: "cockroachdb", Addr: db},
		{Name: "down", Protocol: "postgres", Addr: "127.0.0.1:1"},
	}})
	u := newUser(t)
	orders := u.tls(dbRoute("orders", "postgres"))
	startup := string(pgStartup("alice"))
	inner := func(t *testing.T, c net.Conn, cert *tls.Certificate) *tls.Conn {
		return tls.Client(c, config(testAuthority().Host.Pool(), cert))
	}
	for _, tt := range []struct {
		name  string
		outer *tls.Certificate
		alpn  string
		talk  func(*testing.T, net.Conn) string
		want  string // contained in what comes back; empty: nothing comes back
	}{
		{"plain", nil, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			if b := ask(t, c, pgSSLRequest); b != 'S' {
				t.Fatalf("answer %c", b)
			}
			return roundTrip(t, inner(t, c, orders), startup)
		}, startup},
		{"plain, gss first", nil, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			if b := ask(t, c, pgGSSENCRequest); b != 'N' {
				t.Fatalf("answer %c", b)
			}
			ask(t, c, pgSSLRequest)
			return roundTrip(t, inner(t, c, orders), startup)
		}, startup},
		{"plain, cancel inside", nil, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			ask(t, c, pgSSLRequest)
			return roundTrip(t, inner(t, c, orders), string(pgCancel()))
		}, string(pgCancel())},
		{"plain, no tls", nil, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			c.Write(pgStartup("alice"))
			return rest(c)
		}, "sslmode"},
		{"plain, cancel without certificate", nil, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			c.Write(pgCancel())
			return rest(c)
		}, "28000"},
		{"plain, no certificate", nil, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			ask(t, c, pgSSLRequest)
			return rest(inner(t, c, nil))
		}, ""},
		{"plain, user's certificate", nil, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			ask(t, c, pgSSLRequest)
			tc := inner(t, c, u.tls(identity.Identity{}))
			tc.Write(pgStartup("alice"))
			return rest(tc)
		}, "opens no database"},
		{"plain, ssl twice", nil, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			ask(t, c, pgSSLRequest)
			tc := inner(t, c, orders)
			tc.Write(pgRequest(pgSSLRequest))
			return rest(tc)
		}, ""},
		{"gss twice", orders, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			ask(t, c, pgGSSENCRequest)
			c.Write(pgRequest(pgGSSENCRequest))
			return rest(c)
		}, ""},
		{"tunnel", orders, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			return roundTrip(t, c, startup)
		}, startup},
		{"tunnel, both refused", orders, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			if a, b := ask(t, c, pgSSLRequest), ask(t, c, pgGSSENCRequest); a != 'N' || b != 'N' {
				t.Fatalf("answers %c %c", a, b)
			}
			return roundTrip(t, c, startup)
		}, startup},
		{"tunnel, ssl twice", orders, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			ask(t, c, pgSSLRequest)
			c.Write(pgRequest(pgSSLRequest))
			return rest(c)
		}, ""},
		{"tunnel, cancel", orders, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			return roundTrip(t, c, string(pgCancel()))
		}, string(pgCancel())},
		{"certificate decides", orders, "teleport-mysql", func(t *testing.T, c net.Conn) string {
			return roundTrip(t, c, startup)
		}, startup},
		{"cockroachdb", u.tls(dbRoute("roach", "cockroachdb")), "teleport-postgres", func(t *testing.T, c net.Conn) string {
			return roundTrip(t, c, startup)
		}, startup},
		{"down", u.tls(dbRoute("down", "postgres")), "teleport-postgres", func(t *testing.T, c net.Conn) string {
			c.Write(pgStartup("alice"))
			return rest(c)
		}, `database "down" cannot be reached`},
		{"unknown", u.tls(dbRoute("nothing", "postgres")), "teleport-postgres", func(t *testing.T, c net.Conn) string {
			return rest(c)
		}, ""},
		{"wrong protocol in the certificate", u.tls(dbRoute("orders", "redis")), "teleport-postgres", func(t *testing.T, c net.Conn) string {
			return rest(c)
		}, ""},
		{"other cluster", u.tls(identity.Identity{RouteToCluster: "leaf", Database: identity.Database{Service: "orders", Protocol: "postgres"}}), "teleport-postgres", func(t *testing.T, c net.Conn) string {
			return rest(c)
		}, ""},
		{"nonsense", orders, "teleport-postgres", func(t *testing.T, c net.Conn) string {
			io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
			return rest(c)
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.talk(t, f.dial(tt.outer, tt.alpn))
			if !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzPostgresStartup(f *testing.F) {
	f.Add(pgStartup("alice"))
	f.Add(pgRequest(pgSSLRequest))
	f.Add([]byte{0, 0, 0, 4, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		m, err := readPGStartup(r)
		if err != nil {
			return
		}
		if len(m) > maxPGStartup || !bytes.HasPrefix(in, m) || r.Len() != len(in)-len(m) {
			t.Errorf("read %d of %d bytes", len(m), len(in))
		}
	})
}

// The other database protocols are carried as they are, encrypted once or twice.
func TestRawDatabases(t *testing.T) {
	f := start(t, Options{Databases: []Database{{Name: "cache", Protocol: "redis", Addr: backend(t, echo)}}})
	u := newUser(t)
	cache := u.tls(dbRoute("cache", "redis"))
	t.Run("tunnel", func(t *testing.T) {
		if got := roundTrip(t, f.dial(cache, "teleport-redis"), "PING"); got != "PING" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("second handshake", func(t *testing.T) {
		c := tls.Client(f.dial(nil, "teleport-redis"), config(testAuthority().Host.Pool(), cache))
		if got := roundTrip(t, c, "PING"); got != "PING" {
			t.Errorf("got %q", got)
		}
	})
}

// However a database connection ends at one side, the other side sees the same.
func TestDatabaseReset(t *testing.T) {
	f := start(t, Options{Databases: []Database{{Name: "cache", Protocol: "redis", Addr: backend(t, func(c net.Conn) {
		io.WriteString(c, "half")
		io.ReadFull(c, make([]byte, 2))
		conn.Abort(c)
	})}}})
	c := f.dial(newUser(t).tls(dbRoute("cache", "redis")), "teleport-redis")
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "go")
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("read %d, %v; want an error other than EOF", n, err)
	}
}
