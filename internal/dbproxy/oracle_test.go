package dbproxy

import (
	"database/sql"
	"encoding/binary"
	"net"
	"strings"
	"testing"

	_ "github.com/sijms/go-ora/v2"
)

func TestOracleLines(t *testing.T) {
	at := Endpoint{Host: "127.0.0.1", Port: "1521", User: "alice", Name: "XE", Tunnel: true}
	with := func(says string, programs ...string) Endpoint {
		at := at
		at.Has, at.Says = installed(programs...), helpOf(says)
		return at
	}
	const url = "jdbc:oracle:thin:@//127.0.0.1:1521/XE"
	testLines(t, &oracle, []lineTest{
		{"none", at, "sql -L alice@//127.0.0.1:1521/XE", url, []string{"TWO_TASK=//127.0.0.1:1521/XE"}},
		{"SQLcl", with("SQLcl: Release 24.3.0.0 Production", "sql", "sqlplus"), "sql -L alice@//127.0.0.1:1521/XE", url, nil},
		{"another sql", with("sql 1.0", "sql", "sqlplus"), "sqlplus -L alice@//127.0.0.1:1521/XE", url, nil},
	})
}

func TestOracleSpeaks(t *testing.T) {
	connect := string(tnsPacket(tnsConnect, tnsConnectBody(Endpoint{Name: "XE"})))
	testSpeaks(t, &oracle, []string{connect, connect[:8]}, []string{
		"GET / HTTP/1.1\r\n\r\n", "*1\r\n$4\r\nPING\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01", "\x00\x00\x00\x08\x04\xd2\x16\x2f",
		string(tdsClientPrelogin), string(cqlClientOptions), "\x00\x3a\x00\x00\x06\x00\x00\x00",
		string(mongoEncode(mongoOpMsg, 0, nil)),
	})
}

func TestOracleRefuseDriver(t *testing.T) {
	long := strings.Repeat("n", 400) // a CONNECT with its data in a packet of its own
	for _, tt := range []struct {
		r    Refusal
		name string
		want string
	}{
		{expired, "XE", "ORA-12638"},
		{Refusal{Text: "the proxy (p) cannot be reached", Tunnel: true}, "XE", "ORA-12564"},
		{expired, long, "ORA-12638"},
	} {
		at := refusing(t, &oracle, true, tt.r)
		db, err := sql.Open("oracle", "oracle://alice:x@"+at.Addr()+"/"+tt.name)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.want, err)
		}
	}
}

// TestOracleRefusalText is for the traces of clients: a text that breaks no
// description.
func TestOracleRefusalText(t *testing.T) {
	b := tnsRefusal(Refusal{Text: `a (b) 'c' \d`})
	const want = "(DESCRIPTION=(TMP=)(VSNNUM=0)(ERR=12564)(ERROR_STACK=(ERROR=(CODE=12564)(EMFI=4)(ARGS='a [b] `c` /d'))))"
	if got := string(b[4:]); got != want || int(binary.BigEndian.Uint16(b[2:])) != len(got) {
		t.Errorf("% x %s", b[:4], got)
	}
}

func TestOraclePing(t *testing.T) {
	accept := tnsPacket(tnsAccept, append([]byte{1, 58}, make([]byte, 22)...))
	refuse := tnsPacket(tnsRefuse, append([]byte{34, 0, 0, 0}, "(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR=12514)(ERROR_STACK=(ERROR=(CODE=12514)(EMFI=4))))"...))
	resend := tnsPacket(tnsResend, nil)
	for _, tt := range []struct {
		name    string
		answers [][]byte
		want    Pong
		wantErr string
	}{
		{"accepted", [][]byte{accept}, Pong{Note: "accepts connections, TNS version 314"}, ""},
		{"again", [][]byte{resend, accept}, Pong{Note: "accepts connections, TNS version 314"}, ""},
		{"again and again", [][]byte{resend, resend, resend}, Pong{}, "again and again"},
		{"elsewhere", [][]byte{tnsPacket(tnsRedirect, []byte("..."))}, Pong{Note: "sends clients on to another address"}, ""},
		{"refused", [][]byte{refuse}, Pong{}, "the server refuses: ORA-12514"},
		{"refused by our own refusal", [][]byte{tnsPacket(tnsRefuse, tnsRefusal(expired))}, Pong{}, "ORA-12638"},
		{"refused without a reason", [][]byte{tnsPacket(tnsRefuse, nil)}, Pong{}, "it says no reason"},
		{"data", [][]byte{tnsPacket(tnsData, nil)}, Pong{}, "type 6 in answer to CONNECT"},
		{"shorter than its header", [][]byte{{0, 1, 0, 0, 2, 0, 0, 0}}, Pong{}, "malformed TNS packet"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ping(t, &oracle, func(c net.Conn) {
				for _, a := range tt.answers {
					kind, body, err := readTNS(c)
					if err != nil {
						return
					}
					if kind != tnsConnect || !strings.HasSuffix(string(body), "(SERVICE_NAME=app)(CID=(PROGRAM=tshx)(HOST=localhost)(USER=alice))))") {
						t.Errorf("type %d, %q", kind, body)
					}
					c.Write(a)
				}
			})
			testPong(t, got, err, tt.want, tt.wantErr)
		})
	}
}

func TestOracleConnectValues(t *testing.T) {
	b := tnsConnectBody(Endpoint{Name: "x)(SERVER=evil", User: strings.Repeat("u", 5000)})
	if s := string(b); strings.Contains(s, "(SERVER") || len(s) > 2200 {
		t.Errorf("%d bytes: %.100q", len(s), s)
	}
}

func FuzzOracleRefuse(f *testing.F) {
	f.Add(tnsPacket(tnsConnect, tnsConnectBody(Endpoint{Name: "XE", User: "alice"})))
	split := tnsPacket(tnsConnect, tnsConnectBody(Endpoint{})[:tnsConnectAt-tnsHeader])
	f.Add(append(split, tnsPacket(tnsData, []byte("(DESCRIPTION=)"))...))
	f.Fuzz(func(t *testing.T, sent []byte) { fuzzRefuse(t, &oracle, sent) })
}

func FuzzOraclePing(f *testing.F) {
	f.Add(tnsPacket(tnsRefuse, tnsRefusal(expired)))
	f.Add(append(tnsPacket(tnsResend, nil), tnsPacket(tnsAccept, []byte{1, 58})...))
	f.Fuzz(func(t *testing.T, answers []byte) { fuzzPing(t, &oracle, answers) })
}
