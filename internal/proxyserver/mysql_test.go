package proxyserver

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"database/sql"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"

	"tshx/internal/identity"
	"tshx/internal/tlsroute"
)

// fakeMySQL is a backend that checks the login of alice (password "secret")
// and then answers every command with OK. Like real servers it asks again when
// the client has not used the account's plugin.
type fakeMySQL struct {
	version string
	flags   uint32
	plugin  string // of the account
	refuse  bool   // an error in place of the greeting
}

// cachingSHA2 is a plugin that, for a password the server remembers, sends a
// message more than others.
const cachingSHA2 = "caching_sha2_password"

func nativeHash(password string, challenge []byte) []byte {
	stage1 := sha1.Sum([]byte(password))
	stage2 := sha1.Sum(stage1[:])
	h := sha1.Sum(append(bytes.Clone(challenge), stage2[:]...))
	for i := range h {
		h[i] ^= stage1[i]
	}
	return h[:]
}

func sha2Hash(password string, challenge []byte) []byte {
	stage1 := sha256.Sum256([]byte(password))
	stage2 := sha256.Sum256(stage1[:])
	h := sha256.Sum256(append(stage2[:], challenge...))
	for i := range h {
		h[i] ^= stage1[i]
	}
	return h[:]
}

func (b fakeMySQL) greeting() []byte {
	m := ownGreeting(b.version)
	flags := m[bytes.IndexByte(m, 0)+1+flagsOffset:]
	binary.LittleEndian.PutUint16(flags, uint16(b.flags))
	binary.LittleEndian.PutUint16(flags[5:], uint16(b.flags>>16))
	return m
}

func (b fakeMySQL) serve(c net.Conn) {
	p := &mysqlPeer{Conn: c}
	if b.refuse {
		p.write(mysqlError(1040, "", "too many connections"))
		return
	}
	p.write(b.greeting())
	m, err := p.read()
	if err != nil {
		return
	}
	if capabilities(m)&(mysqlSSL|mysqlPluginAuth|^(b.flags|mysqlLongPassword)) != mysqlPluginAuth {
		p.write(mysqlError(1045, "28000", "these capabilities were not offered"))
		return
	}
	r := &mysqlReader{rest: m[mysqlSSLRequestLen:]}
	user := string(r.cstring())
	challenge := []byte("ABCDEFGHIJKLMNOPQRST")
	p.write(slices.Concat([]byte{0xfe}, []byte(b.plugin), []byte{0}, challenge, []byte{0}))
	answer, err := p.read()
	if err != nil {
		return
	}
	hash := nativeHash
	if b.plugin == cachingSHA2 {
		hash = sha2Hash
	}
	if user != "alice" || !bytes.Equal(answer, hash("secret", challenge)) {
		p.write(mysqlError(1045, "28000", "access denied for "+user))
		return
	}
	if b.plugin == cachingSHA2 {
		p.write([]byte(mysqlFastAuthDone))
	}
	p.write([]byte{mysqlOK, 0, 0, 2, 0, 0, 0})
	for {
		m, err := p.read()
		if err != nil || m[0] == 1 { // quit
			return
		}
		p.write([]byte{mysqlOK, 0, 0, 2, 0, 0, 0})
	}
}

// mysqlOpen makes go-sql-driver/mysql dial by dial.
func mysqlOpen(t *testing.T, password string, cfg *tls.Config, dial func() net.Conn) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.TLS = "alice", password, "tcp", cfg
	c.AllowNativePasswords = true
	c.DialFunc = func(context.Context, string, string) (net.Conn, error) { return dial(), nil }
	k, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(k)
	t.Cleanup(func() { db.Close() })
	return db
}

func TestMySQLFront(t *testing.T) {
	native := fakeMySQL{version: "10.11.0-MariaDB", flags: mysqlOwn&^mysqlLongPassword | 1<<24 /* deprecated EOF */, plugin: nativePassword}
	old := fakeMySQL{version: "5.5.0", flags: mysqlOwn &^ (mysqlConnectAttrs | mysqlLenencAuth), plugin: nativePassword}
	sha2 := fakeMySQL{version: "8.4.0", flags: mysqlOwn, plugin: cachingSHA2}
	var dbs []Database
	for name, b := range map[string]fakeMySQL{"native": native, "old": old, "sha2": sha2, "full": {refuse: true}} {
		dbs = append(dbs, Database{Name: name, Protocol: "mysql", Addr: backend(t, b.serve)})
	}
	dbs = append(dbs, Database{Name: "down", Protocol: "mysql", Addr: "127.0.0.1:1"})
	f := start(t, Options{Databases: dbs})
	u := newUser(t)
	for _, tt := range []struct {
		name, db, password string
		tunnel             bool
		want               string // in the error; empty: works
	}{
		{"plain", "native", "secret", false, ""},
		{"plain, old backend", "old", "secret", false, ""},
		{"plain, sha2", "sha2", "secret", false, ""},
		{"plain, sha2, wrong password", "sha2", "guess", false, "access denied for alice"},
		{"plain, wrong password", "native", "guess", false, "access denied for alice"},
		{"plain, no password", "native", "", false, "access denied for alice"},
		{"plain, backend refuses", "full", "secret", false, "too many connections"},
		{"plain, down", "down", "secret", false, `database "down" cannot be reached`},
		{"plain, unknown", "nothing", "secret", false, "no such database"},
		{"tunnel", "native", "secret", true, ""},
		{"tunnel, sha2", "sha2", "secret", true, ""},
		{"tunnel, wrong password", "native", "guess", true, "access denied for alice"},
		{"tunnel, backend refuses", "full", "secret", true, "too many connections"},
		{"tunnel, down", "down", "secret", true, `database "down" cannot be reached`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := u.tls(dbRoute(tt.db, "mysql"))
			outer, inner := cert, (*tls.Config)(nil)
			if !tt.tunnel {
				outer, inner = nil, config(testAuthority().Host.Pool(), cert)
			}
			db := mysqlOpen(t, tt.password, inner, func() net.Conn { return f.dial(outer, "teleport-mysql") })
			err := db.PingContext(t.Context())
			if err == nil {
				_, err = db.ExecContext(t.Context(), "do 1")
			}
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestMySQLVersion(t *testing.T) {
	addr := backend(t, fakeMySQL{version: "10.11.0-MariaDB", flags: mysqlOwn, plugin: nativePassword}.serve)
	dbs := []Database{{Name: "db", Protocol: "mysql", Addr: addr}}
	cert := newUser(t).tls(dbRoute("db", "mysql"))
	for _, tt := range []struct {
		name, configured string
		outer            *tls.Certificate
		alpn             []string
		want             string
		ssl              bool
	}{
		{"built in", "", nil, []string{"teleport-mysql"}, builtinMySQLVersion, true},
		{"configured", "8.4.1", nil, []string{"teleport-mysql"}, "8.4.1", true},
		{"asked for", "8.4.1", nil, []string{"teleport-mysql", tlsroute.MySQLVersion("9.1.0")}, "9.1.0", true},
		{"tunnel has the backend's", "8.4.1", cert, []string{"teleport-mysql", tlsroute.MySQLVersion("9.1.0")}, "10.11.0-MariaDB", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := start(t, Options{Databases: dbs, MySQLVersion: tt.configured})
			_, m, err := readMySQLPacket(f.dial(tt.outer, tt.alpn...))
			if err != nil {
				t.Fatal(err)
			}
			got, _, _ := bytes.Cut(m[1:], []byte{0})
			if string(got) != tt.want {
				t.Errorf("version %q, want %q", got, tt.want)
			}
			flags, err := greetingFlags(m)
			if err != nil {
				t.Fatal(err)
			}
			if ssl := flags&mysqlSSL != 0; ssl != tt.ssl {
				t.Errorf("offers tls: %v, want %v", ssl, tt.ssl)
			}
		})
	}
}

func TestMySQLWithoutTLS(t *testing.T) {
	f := start(t, Options{})
	db := mysqlOpen(t, "secret", nil, func() net.Conn { return f.dial(nil, "teleport-mysql") })
	if err := db.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "connect with TLS") {
		t.Errorf("error %v", err)
	}
}

func TestMySQLUserCertificate(t *testing.T) {
	f := start(t, Options{})
	cert := newUser(t).tls(identity.Identity{})
	db := mysqlOpen(t, "secret", config(testAuthority().Host.Pool(), cert), func() net.Conn { return f.dial(nil, "teleport-mysql") })
	if err := db.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "opens no database") {
		t.Errorf("error %v", err)
	}
}

// FuzzMySQL feeds all parsers of the login: none may panic, and a login that is
// understood can be read again as a backend gets it.
func FuzzMySQL(f *testing.F) {
	f.Add(ownGreeting("8.0.0"), make([]byte, 40))
	f.Add([]byte{mysqlERR, 16, 4, 'n', 'o'}, bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, greeting, login []byte) {
		if len(greeting) == 0 {
			return // readServer refuses it
		}
		flags, gerr := greetingFlags(greeting)
		l, lerr := parseLogin(login)
		if cut := withoutSSL(greeting); len(cut) != len(greeting) {
			t.Error("withoutSSL changed the length")
		}
		if gerr != nil || lerr != nil {
			return
		}
		m := l.encode(flags)
		if capabilities(m)&mysqlSSL != 0 {
			t.Error("a login that asks for tls")
		}
		r := &mysqlReader{rest: m[mysqlSSLRequestLen:]}
		if user := r.cstring(); !bytes.Equal(user, l.user) {
			t.Errorf("user %q became %q", l.user, user)
		}
	})
}
