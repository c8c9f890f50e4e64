package dbproxy

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
)

func TestMySQLLines(t *testing.T) {
	testLines(t, &mysql, []lineTest{
		{
			"tunnel", Endpoint{Host: "127.0.0.1", Port: "3306", User: "alice", Name: "shop", Tunnel: true},
			"mysql --protocol=TCP --host=127.0.0.1 --port=3306 --user=alice --ssl-mode=DISABLED --database=shop", "mysql://alice@127.0.0.1:3306/shop",
			[]string{"MYSQL_HOST=127.0.0.1", "MYSQL_TCP_PORT=3306"},
		},
		{
			"tunnel, MariaDB", Endpoint{Host: "127.0.0.1", Port: "3306", User: "alice", Tunnel: true, Has: installed("mariadb", "mysql")},
			"mariadb --protocol=TCP --host=127.0.0.1 --port=3306 --user=alice --skip-ssl", "mysql://alice@127.0.0.1:3306/", nil,
		},
		{
			"plain", Endpoint{Host: "localhost", Port: "1", Files: files},
			"mysql --protocol=TCP --host=localhost --port=1 '--ssl-ca=/home/a b/ca.pem' '--ssl-cert=/c&d.pem' --ssl-key=/k --ssl-mode=VERIFY_IDENTITY",
			"mysql://localhost:1/", []string{},
		},
		{
			"plain, MariaDB", Endpoint{Host: "localhost", Port: "1", Files: files, Has: installed("mariadb")},
			"mariadb --protocol=TCP --host=localhost --port=1 '--ssl-ca=/home/a b/ca.pem' '--ssl-cert=/c&d.pem' --ssl-key=/k --ssl-verify-server-cert",
			"mysql://localhost:1/", nil,
		},
		{
			"plain, MariaDB called mysql",
			Endpoint{Host: "localhost", Port: "1", Files: files, Has: installed("mysql"), Says: func(string, ...string) string { return "mysql  Ver 15.1 Distrib 10.11-MariaDB" }},
			"mysql --protocol=TCP --host=localhost --port=1 '--ssl-ca=/home/a b/ca.pem' '--ssl-cert=/c&d.pem' --ssl-key=/k --ssl-verify-server-cert",
			"mysql://localhost:1/", nil,
		},
		{
			"unix socket", Endpoint{Socket: "/run/a b.sock", User: "alice", Tunnel: true},
			"mysql --protocol=SOCKET '--socket=/run/a b.sock' --user=alice --ssl-mode=DISABLED", "mysql://alice@localhost/?socket=/run/a%20b.sock",
			[]string{"MYSQL_UNIX_PORT=/run/a b.sock"},
		},
	})
}

func TestMySQLClientFile(t *testing.T) {
	odd := Files{CA: `C:\ca "1".pem`, Cert: "/c#d.pem", Key: "/k"}
	plain := mysql.ClientFile(Endpoint{Host: "localhost", Port: "1", User: "alice", Name: "shop", Files: odd}, "real.example.com", "orders")
	want := ClientFile{
		Name: ".my.cnf", Section: "client_real.example.com-orders",
		Settings: []string{
			"protocol=TCP", "host=localhost", "port=1", "user=alice", "database=shop",
			`ssl-ca="C:\\ca \"1\".pem"`, `ssl-cert="/c#d.pem"`, "ssl-key=/k", "ssl-mode=VERIFY_IDENTITY",
		},
		Use: []string{"mysql", "--defaults-group-suffix=_real.example.com-orders"},
		Env: []string{"MYSQL_GROUP_SUFFIX=_real.example.com-orders"},
	}
	if d := cmp.Diff(want, plain); d != "" {
		t.Error(d)
	}
	for _, tt := range []struct {
		at   Endpoint
		want string
	}{
		{Endpoint{Tunnel: true}, "ssl-mode=DISABLED"},
		{Endpoint{Tunnel: true, Has: installed("mariadb")}, "skip-ssl"},
		{Endpoint{Has: installed("mariadb")}, "ssl-verify-server-cert"},
	} {
		if s := mysql.ClientFile(tt.at, "c", "d").Settings; s[len(s)-1] != tt.want {
			t.Errorf("settings %q, want %s last", s, tt.want)
		}
	}
}

func TestMySQLRefusal(t *testing.T) {
	const text = "database \"orders\": the certificate has expired; log in again with tsh db login orders"
	for _, program := range []string{"mysql", "mariadb"} {
		for _, login := range []bool{true, false} {
			code := map[bool]string{true: "1045", false: "1043"}[login]
			at := refusing(t, &mysql, true, Refusal{Text: text, Login: login})
			at.Has = installed("mariadb")
			out := say(t, append([]string{program}, append(mariadbArgs(at), "-e", "select 1")...)...)
			if !strings.HasPrefix(out, "ERROR "+code+" (") || !strings.HasSuffix(out, text) {
				t.Errorf("%s says %q", program, out)
			}
		}
		at := refusing(t, &mysql, false, Refusal{Text: text})
		at.Files = files
		out := say(t, program, "--protocol=TCP", "--host="+at.Host, "--port="+at.Port, "--ssl", "-e", "select 1")
		if !strings.HasSuffix(out, text) {
			t.Errorf("%s in plain mode says %q", program, out)
		}
	}
}

func TestMySQLRefusalCode(t *testing.T) {
	long := strings.Repeat("# a long story; ", 100)
	for login, code := range map[bool]uint16{true: 1045, false: 1043} {
		at := refusing(t, &mysql, true, Refusal{Text: long, Login: login})
		c, err := net.Dial("tcp", at.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_, err = mysqlPing(t.Context(), c, at)
		c.Close()
		var said *ServerError
		if !errors.As(err, &said) || said.Text != strings.TrimSpace(long)[2:][:mysqlLongest] {
			t.Errorf("login %v: %v", login, err)
		}
		cfg, err := mysqldriver.ParseDSN("alice@tcp(" + at.Addr() + ")/")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Logger = &mysqldriver.NopLogger{}
		connector, err := mysqldriver.NewConnector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = connector.Connect(t.Context())
		var number *mysqldriver.MySQLError
		if !errors.As(err, &number) || number.Number != code {
			t.Errorf("login %v: %v", login, err)
		}
	}
}

// mysqlServer answers one login and what comes after it with packets, numbered
// as a client expects.
func mysqlServer(packets ...string) []byte {
	var all []byte
	for _, p := range packets {
		all = binary.LittleEndian.AppendUint32(all, uint32(len(p)))
		all = append(all, p...)
	}
	return all
}

// mysqlHello is the greeting of a MariaDB server, without its packet.
const mysqlHello = "\x0a5.5.5-10.11.6-MariaDB\x00\x05\x00\x00\x00abcdefgh\x00\xfe\xf7\x08\x02\x00\xff\x81\x15\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00abcdefghijkl\x00mysql_native_password\x00"

func TestMySQLPingAnswers(t *testing.T) {
	const ok, greeted = "\x00\x00\x00\x02\x00\x00\x00", "5.5.5-10.11.6-MariaDB"
	row := []string{"\x01", "the column", "\xfe\x00\x00\x02\x00", "\x058.4.0", "\xfe\x00\x00\x02\x00"}
	version := func(login ...string) []byte {
		return mysqlServer(slices.Concat([]string{mysqlHello}, login, []string{ok}, row)...)
	}
	password := Pong{Version: greeted, Note: "the server wants a password"}
	for _, tt := range []struct {
		name   string
		server []byte
		want   Pong
		err    error
	}{
		{"no password", version(ok), Pong{Version: "8.4.0"}, nil},
		{"another method", version("\xfemysql_native_password\x00abcdefgh", ok), Pong{Version: "8.4.0"}, nil},
		{"cached", version("\x01\x03", ok), Pong{Version: "8.4.0"}, nil},
		{"password", mysqlServer(mysqlHello, "\x01\x04"), password, nil},
		{"unknown method", mysqlServer(mysqlHello, "\xfedialog\x00"), password, nil},
		{"access denied", mysqlServer(mysqlHello, "\xff\x15\x04#28000no"), Pong{}, &ServerError{"1045", "no"}},
		{"too many connections", mysqlServer("\xff\x10\x04Too many"), Pong{}, &ServerError{"1040", "Too many"}},
		{"short error", mysqlServer("\xff\x10"), Pong{}, errNotMySQL},
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), Pong{}, errNotMySQL},
		{"ends", mysqlServer(mysqlHello)[:20], Pong{}, io.ErrUnexpectedEOF},
	} {
		ours, server := net.Pipe()
		go io.Copy(io.Discard, server)
		go func() {
			server.Write(tt.server)
			if tt.err == io.ErrUnexpectedEOF {
				server.Close()
			}
		}()
		pong, err := mysqlPing(t.Context(), ours, Endpoint{User: "u", Name: "n"})
		ours.Close()
		server.Close()
		pong.RoundTrip = 0
		var said *ServerError
		if pong != tt.want || !errors.Is(err, tt.err) && (!errors.As(err, &said) || cmp.Diff(tt.err, err) != "") {
			t.Errorf("%s: %+v, %v, want %+v, %v", tt.name, pong, err, tt.want, tt.err)
		}
	}
}

func FuzzMySQLPing(f *testing.F) {
	f.Add(mysqlServer("\xff\x15\x04#28000"))
	f.Add(mysqlServer(mysqlHello, "\x00\x00\x00", "\x00\x00\x00", "\x01", "x", "\xfe", "\x018"))
	f.Fuzz(func(t *testing.T, answer []byte) { pingWith(t, &mysql, answer) })
}
