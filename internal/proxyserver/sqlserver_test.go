package proxyserver

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	mssql "github.com/microsoft/go-mssqldb"
)

// What a SQL Server answers: PRELOGIN with its version, 15.0.2000, and the
// option on encryption last; a login taken, by TDS 7.4; and a batch done.
var (
	tdsServerPrelogin = "\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff\x0f\x00\x07\xd0\x00\x00"
	tdsLoginAck       = unhex("ad 36 00 01 74 00 00 04 16 4d 00 69 00 63 00 72 00 6f 00 73 00 6f 00 66 00 74 00 20 00 53 00 51 00 4c 00" +
		"20 00 53 00 65 00 72 00 76 00 65 00 72 00 00 00 00 00 0f 00 07 d0 fd 00 00 00 00 00 00 00 00 00 00 00 00")
	tdsDone = unhex("fd 00 00 00 00 00 00 00 00 00 00 00 00")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// fakeSQLServer is a backend that lets everybody in and does every batch.
// encryption is what it says of it.
func fakeSQLServer(encryption byte, seen chan<- []byte) func(net.Conn) {
	return func(c net.Conn) {
		request, err := readTDSKind(c, tdsPrelogin)
		if err != nil {
			return
		}
		if seen != nil {
			seen <- request
		}
		writeTDSMessage(c, tdsAnswer, append([]byte(tdsServerPrelogin), encryption))
		if _, err := readTDSKind(c, tdsLogin); err != nil {
			return
		}
		writeTDSMessage(c, tdsAnswer, tdsLoginAck)
		for {
			if _, err := readTDSKind(c, 1); err != nil {
				return
			}
			writeTDSMessage(c, tdsAnswer, tdsDone)
		}
	}
}

// dialer makes go-mssqldb dial by itself.
type dialer func() net.Conn

func (d dialer) DialContext(context.Context, string, string) (net.Conn, error) { return d(), nil }

func TestSQLServerFront(t *testing.T) {
	f := start(t, Options{Databases: []Database{
		{Name: "open", Protocol: "sqlserver", Addr: backend(t, fakeSQLServer(tdsNotSupported, nil))},
		{Name: "off", Protocol: "sqlserver", Addr: backend(t, fakeSQLServer(0, nil))},
		{Name: "strict", Protocol: "sqlserver", Addr: backend(t, fakeSQLServer(3, nil))},
		{Name: "odd", Protocol: "sqlserver", Addr: backend(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })},
		{Name: "down", Protocol: "sqlserver", Addr: "127.0.0.1:1"},
	}})
	u := newUser(t)
	for _, tt := range []struct{ db, want string }{
		{"open", ""}, {"off", ""},
		{"strict", `database "strict" cannot be reached`},
		{"odd", `database "odd" cannot be reached`},
		{"down", `database "down" cannot be reached`},
	} {
		for _, encrypt := range []string{"disable", "false"} {
			t.Run(tt.db+" "+encrypt, func(t *testing.T) {
				k, err := mssql.NewConnector("sqlserver://alice:x@127.0.0.1:1?encrypt=" + encrypt)
				if err != nil {
					t.Fatal(err)
				}
				k.Dialer = dialer(func() net.Conn { return f.dial(u.tls(dbRoute(tt.db, "sqlserver")), "teleport-sqlserver") })
				db := sql.OpenDB(k)
				defer db.Close()
				_, err = db.ExecContext(t.Context(), "select 1")
				var said mssql.Error
				switch {
				case tt.want == "" && err != nil:
					t.Error(err)
				case tt.want != "" && (!errors.As(err, &said) || said.Number != tdsErrUnreachable || !strings.HasSuffix(said.Message, tt.want)):
					t.Errorf("error %v, want %s", err, tt.want)
				}
			})
		}
	}
}

// TestSQLServerPrelogin looks at what either side hears of encryption.
func TestSQLServerPrelogin(t *testing.T) {
	seen := make(chan []byte, 1)
	f := start(t, Options{Databases: []Database{{Name: "db", Protocol: "sqlserver", Addr: backend(t, fakeSQLServer(0, seen))}}})
	c := f.dial(newUser(t).tls(dbRoute("db", "sqlserver")), "teleport-sqlserver")
	const wantsEncryption = 1
	request := append([]byte(tdsServerPrelogin), wantsEncryption)
	if err := writeTDSMessage(c, tdsPrelogin, request); err != nil {
		t.Fatal(err)
	}
	answer, err := readTDSKind(c, tdsAnswer)
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte(tdsServerPrelogin), tdsNotSupported)
	if !bytes.Equal(answer, want) {
		t.Errorf("the client hears % x, want % x", answer, want)
	}
	if got := <-seen; !bytes.Equal(got, want) {
		t.Errorf("the backend hears % x, want % x", got, want)
	}
}

func TestSQLServerNoPrelogin(t *testing.T) {
	f := start(t, Options{Databases: []Database{{Name: "db", Protocol: "sqlserver", Addr: "127.0.0.1:1"}}})
	c := f.dial(newUser(t).tls(dbRoute("db", "sqlserver")), "teleport-sqlserver")
	io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
	if got := rest(c); got != "" {
		t.Errorf("answered %q", got)
	}
}

// FuzzSQLServer feeds what either side says first: no panic, and no word on
// encryption but that there is none.
func FuzzSQLServer(f *testing.F) {
	f.Add(append([]byte("\x12\x01\x00\x1a\x00\x00\x01\x00"+tdsServerPrelogin), 0))
	f.Add([]byte("\x12\x01\x00\x1a\x00\x00\x01\x00\x00\x00\x0b\x00\x06\x01\x00\x08\x00\x01\xff\x0f\x00\x07\xd0\x00\x00\x00")) // a value in the table
	f.Add([]byte("\x12\x00\x00\x0a\x00\x00\x01\x00ab\x12\x01\x00\x09\x00\x00\x01\x00\xff"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		m, err := readTDSKind(bytes.NewReader(sent), tdsPrelogin)
		if err != nil {
			return
		}
		plain, _, err := withoutEncryption(m)
		if err != nil {
			return
		}
		if len(plain) != len(m) {
			t.Error("the length changed")
		}
		if _, was, err := withoutEncryption(plain); err != nil || was != tdsNotSupported {
			t.Errorf("% x still says %d, %v", plain, was, err)
		}
	})
}
