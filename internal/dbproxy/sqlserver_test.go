package dbproxy

import (
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	mssql "github.com/microsoft/go-mssqldb"
)

// tdsClientPrelogin is the request of [MS-TDS], section 4.1.
var tdsClientPrelogin = unhex(`12 01 00 2F 00 00 01 00 00 00 1A 00 06 01 00 20
	00 01 02 00 21 00 01 03 00 22 00 04 04 00 26 00 01 FF 09 00 00 00 00 00 01 00 B8 0D 00 00 01`)

// unhex reads bytes as protocol documents print them.
func unhex(s string) []byte {
	var b []byte
	for _, f := range strings.Fields(s) {
		var v byte
		if _, err := fmt.Sscanf(f, "%02X", &v); err != nil {
			panic(err)
		}
		b = append(b, v)
	}
	return b
}

// helpOf stands in for a program's help.
func helpOf(text string) func(string, ...string) string {
	return func(string, ...string) string { return text }
}

func TestSQLServerLines(t *testing.T) {
	const url = "sqlserver://alice@127.0.0.1:1433?database=a+b&encrypt=disable"
	at := Endpoint{Host: "127.0.0.1", Port: "1433", User: "alice", Name: "a b", Tunnel: true}
	with := func(help string, programs ...string) Endpoint {
		at := at
		at.Has, at.Says = installed(programs...), helpOf(help)
		return at
	}
	const args = " -S 127.0.0.1,1433 -U alice -d 'a b'"
	odbc := func(version string) string {
		return "Microsoft (R) SQL Server Command Line Tool\nVersion " + version + " Linux\nCopyright"
	}
	testLines(t, &sqlserver, []lineTest{
		{"none", at, "sqlcmd" + args + " -N disable", url,
			[]string{"SQLCMDPASSWORD=tshx", "SQLCMDSERVER=127.0.0.1,1433", "SQLCMDUSER=alice", "SQLCMDDBNAME=a b"}},
		{"new", with("Version: 1.8.2\n", "sqlcmd"), "sqlcmd" + args + " -N disable", url, nil},
		{"old, strict", with(odbc("18.4.0001.1"), "sqlcmd"), "sqlcmd" + args + " -No", url, nil},
		{"old, strict on Windows", with(odbc("16.0.1000.6"), "sqlcmd"), "sqlcmd" + args + " -No", url, nil},
		{"old", with(odbc("17.10.0001.1"), "sqlcmd"), "sqlcmd" + args, url, nil},
		{"python", with("", "mssql-cli"), "mssql-cli" + args, url, nil},
	})
}

func TestSQLServerSpeaks(t *testing.T) {
	testSpeaks(t, &sqlserver, []string{string(tdsClientPrelogin), "\x10\x00\x10\x00\x00\x00\x01\x00"}, []string{
		"GET / HTTP/1.1\r\n\r\n", "*1\r\n$4\r\nPING\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01", "\x12\x01\x00\x00\x01\x00\x00\x00",
		string(cqlClientOptions), "\x02\x00\x02\x00\x00\x00\x00\x00",
	})
}

// TestSQLServerRefusalFits: a long text does not make the packet longer than
// clients read.
func TestSQLServerRefusalFits(t *testing.T) {
	for _, old := range []bool{true, false} {
		b := tdsRefusal(Refusal{Text: strings.Repeat("long ", 1000)}, old)
		if a, err := parseTDSAnswer(b); err != nil || len(a.text) != tdsRefusalText || tdsHeader+len(b) > 4096 {
			t.Errorf("%d bytes, %d of text, %v", len(b), len(a.text), err)
		}
	}
}

func TestSQLServerRefuseDriver(t *testing.T) {
	for _, tt := range []struct {
		r      Refusal
		number int32
		class  uint8
	}{
		{expired, 18456, 14},
		{Refusal{Text: "the proxy “p” cannot be reached", Tunnel: true}, 50000, 16},
	} {
		for _, encrypt := range []string{"disable", "false"} {
			db, err := sql.Open("sqlserver", strings.Replace(sqlserver.URL(refusing(t, &sqlserver, true, tt.r)), "encrypt=disable", "encrypt="+encrypt, 1))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = db.PingContext(t.Context())
			var said mssql.Error
			if !errors.As(err, &said) || !strings.HasSuffix(said.Message, tt.r.Text) || said.Number != tt.number || said.Class != tt.class {
				t.Errorf("encrypt=%s: %v (%+v)", encrypt, err, said)
			}
		}
	}
}

func TestSQLServerRefuseFreeTDS(t *testing.T) {
	for _, version := range []string{"7.1", "7.4"} {
		t.Setenv("TDSVER", version)
		at := refusing(t, &sqlserver, true, expired)
		got := say(t, "tsql", "-H", at.Host, "-p", at.Port, "-U", "alice", "-P", "x")
		if want := `Msg 18456 (severity 14, state 1) from tshx Line 1: "` + expired.Text + `"`; !strings.Contains(got, want) {
			t.Errorf("TDS %s: tsql said %s", version, got)
		}
	}
}

func TestSQLServerRefuseSQLCmd(t *testing.T) {
	offer(t, "sqlcmd")
	at := refusing(t, &sqlserver, true, expired)
	at.Has, at.Says = installed("sqlcmd"), func(_ string, args ...string) string { return say(t, append([]string{"sqlcmd"}, args...)...) }
	t.Setenv("SQLCMDPASSWORD", sqlserverPassword)
	if got := say(t, append(append([]string{"env", "SQLCMDPASSWORD=x"}, sqlserver.Command(at)...), "-Q", "select 1")...); !strings.Contains(got, expired.Text) {
		t.Errorf("sqlcmd said %s", got)
	}
}

// Answers of servers: a PRELOGIN without encryption from version 16.0.4135, and
// the answers to a login after [MS-TDS], sections 4.4 and 2.2.7.
var (
	tdsServerPrelogin = tdsPreloginMessage([6]byte{16, 0, 4135 >> 8, 4135 & 0xff})
	tdsServerLoginAck = unhex(`E3 1B 00 01 06 6D 00 61 00 73 00 74 00 65 00 72 00 06 6D 00 61 00 73 00 74 00 65 00 72 00
		AD 36 00 01 74 00 00 04 16 4D 00 69 00 63 00 72 00 6F 00 73 00 6F 00 66 00 74 00 20 00 53 00 51 00 4C 00
		20 00 53 00 65 00 72 00 76 00 65 00 72 00 00 00 00 00 0F 00 07 D0
		E3 13 00 04 04 34 00 30 00 39 00 36 00 04 34 00 30 00 39 00 36 00
		FD 00 00 00 00 00 00 00 00 00 00 00 00`)
)

func TestSQLServerPing(t *testing.T) {
	encrypts := append([]byte{}, tdsServerPrelogin...)
	encrypts[len(encrypts)-1] = 3
	for _, tt := range []struct {
		name            string
		prelogin, login []byte
		want            Pong
		wantErr         string
	}{
		{"logged in", tdsServerPrelogin, tdsServerLoginAck, Pong{Version: "15.0.2000"}, ""},
		{"password", tdsServerPrelogin, tdsRefusal(Refusal{Text: "Login failed for user 'alice'.", Login: true}, false),
			Pong{Version: "16.0.4135", Note: "Login failed for user 'alice'."}, ""},
		{"refused", tdsServerPrelogin, tdsRefusal(Refusal{Text: "no such database"}, false), Pong{}, "no such database (error 50000)"},
		{"encryption", encrypts, nil, Pong{Version: "16.0.4135", Note: "the server wants to encrypt inside the tunnel"}, ""},
		{"no version", []byte{0xff}, nil, Pong{}, "no answer to PRELOGIN"},
		{"no tokens", tdsServerPrelogin, []byte{}, Pong{}, "no answer to the login"},
		{"cut off", tdsServerPrelogin, tdsServerLoginAck[:40], Pong{}, "no answer to the login"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ping(t, &sqlserver, func(c net.Conn) {
				for _, answer := range [][]byte{tt.prelogin, tt.login} {
					if _, _, err := readTDS(c); err != nil || answer == nil {
						return
					}
					writeTDS(c, tdsReply, answer)
				}
			})
			testPong(t, got, err, tt.want, tt.wantErr)
		})
	}
}

// TestTDSLogin reads a login as [MS-TDS], section 2.2.6.4, lays it out.
func TestTDSLogin(t *testing.T) {
	b := tdsLogin(Endpoint{User: "alice", Name: strings.Repeat("d", 200)})
	if int(b[0])|int(b[1])<<8 != len(b) || b[2]|b[3] != 0 {
		t.Errorf("length % x of %d", b[:4], len(b))
	}
	field := func(at int) string {
		from, n := int(b[at])|int(b[at+1])<<8, int(b[at+2])|int(b[at+3])<<8
		return tdsString(b[from : from+2*n])
	}
	if field(40) != "alice" || field(48) != "tshx" || field(68) != strings.Repeat("d", 128) {
		t.Errorf("user %q, program %q, database %q", field(40), field(48), field(68))
	}
	if strings.Contains(tdsString(b[tdsLogin7Size:]), "alicetshx") {
		t.Error("the password is not scrambled")
	}
}

func TestReadTDS(t *testing.T) {
	packet := func(status byte, body string) string {
		return string(append([]byte{tdsLogin7, status, 0, byte(8 + len(body)), 0, 0, 1, 0}, body...))
	}
	for _, tt := range []struct{ name, sent, want string }{
		{"one", packet(1, "ab"), "ab"},
		{"two", packet(0, "ab") + packet(1, "c"), "abc"},
		{"another type", packet(0, "ab") + string(tdsClientPrelogin), ""},
		{"empty in the middle", packet(0, "") + packet(1, "c"), ""},
		{"shorter than its header", "\x10\x01\x00\x07\x00\x00\x01\x00", ""},
		{"cut off", packet(1, "ab")[:9], ""},
		{"too long", strings.Repeat(packet(0, strings.Repeat("a", 200)), 400), ""},
	} {
		if _, got, err := readTDS(strings.NewReader(tt.sent)); string(got) != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

func FuzzSQLServerRefuse(f *testing.F) {
	login := append([]byte{tdsLogin7, 1, 0, 0, 0, 0, 1, 0}, tdsLogin(Endpoint{User: "a"})...)
	login[2], login[3] = byte(len(login)>>8), byte(len(login))
	f.Add(append(append([]byte{}, tdsClientPrelogin...), login...))
	f.Add(login)
	f.Fuzz(func(t *testing.T, sent []byte) { fuzzRefuse(t, &sqlserver, sent) })
}

func FuzzSQLServerPing(f *testing.F) {
	var answers strings.Builder
	writeTDS(&answers, tdsReply, tdsServerPrelogin)
	one := answers.String()
	writeTDS(&answers, tdsReply, tdsServerLoginAck)
	f.Add([]byte(answers.String()))
	answers.Reset()
	writeTDS(&answers, tdsReply, tdsRefusal(expired, false))
	f.Add([]byte(one + answers.String()))
	f.Fuzz(func(t *testing.T, answers []byte) { fuzzPing(t, &sqlserver, answers) })
}
