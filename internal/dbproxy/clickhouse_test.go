package dbproxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// clickhouseHelloOf is what a client of a version says first, with all that
// protocol revision 54412 has.
func clickhouseHelloOf(name, database, user, password string) []byte {
	b := appendClickHouse([]byte{clickhouseHello}, name)
	for _, n := range []uint64{18, 16, 54412} {
		b = binary.AppendUvarint(b, n)
	}
	return appendClickHouse(b, database, user, password)
}

// clickhouseServerHello is the answer of a server of a revision; patch counts
// from the revision on that has it.
func clickhouseServerHello(name string, major, minor, revision, patch uint64) []byte {
	b := appendClickHouse([]byte{clickhouseHello}, name)
	for _, n := range []uint64{major, minor, revision} {
		b = binary.AppendUvarint(b, n)
	}
	if revision >= clickhouseZone {
		b = appendClickHouse(b, "Europe/Vienna")
	}
	if revision >= clickhouseDisplay {
		b = appendClickHouse(b, "warehouse")
	}
	if revision >= clickhousePatch {
		b = binary.AppendUvarint(b, patch)
	}
	return b
}

func clickhouseExceptionOf(code uint32, text string) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{clickhouseException}, code)
	return append(appendClickHouse(b, "DB::Exception", text, "0. stack"), 0)
}

func TestClickHouseLines(t *testing.T) {
	testLines(t, &clickhouse, []lineTest{
		{
			"tunnel", Endpoint{Host: "127.0.0.1", Port: "9000", User: "alice", Name: "my shop", Tunnel: true},
			"clickhouse-client --host 127.0.0.1 --port 9000 --user alice --database 'my shop'",
			"clickhouse://alice@127.0.0.1:9000/my%20shop",
			[]string{"CLICKHOUSE_HOST=127.0.0.1", "CLICKHOUSE_PORT=9000", "CLICKHOUSE_USER=alice", "CLICKHOUSE_DATABASE=my shop"},
		},
		{
			"only the newer program is there", Endpoint{Host: "::1", Port: "9000", Tunnel: true, Has: installed("clickhouse")},
			"clickhouse client --host ::1 --port 9000", "clickhouse://[::1]:9000/",
			[]string{"CLICKHOUSE_HOST=::1", "CLICKHOUSE_PORT=9000"},
		},
	})
}

func TestSpeaksClickHouse(t *testing.T) {
	testSpeaks(t, &clickhouse,
		[]string{
			"\x00\x11ClickH", "\x00\x11ClickHouse client\x12\x10", "\x00\x03tsh\x01\x00\xfc\xa7\x03",
			string(clickhouseHelloOf("ClickHouse client", "", "default", "")),
		},
		[]string{
			"GET / HTTP/1.1\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01", "\x00\x00\x00\x08\x04\xd2\x16\x2f", // PostgreSQL
			"\x00\x3a\x00\x00\x01\x00\x00\x00\x01\x38", // Oracle
			"\x00\x00abcdef", "\x00\xffabcdef",
		})
}

func TestClickHouseRefuse(t *testing.T) {
	ask := clickhouseHelloOf("ClickHouse client", "shop", "alice", "")
	tests := []struct {
		name  string
		first []byte
		login bool
		code  string // empty: no answer
	}{
		{"network", ask, false, "210"},
		{"login", ask, true, "497"},
		{"with more behind it", append(bytes.Clone(ask), clickhouseClientAsk), true, "497"},
		{"nothing", nil, true, ""},
		{"half", ask[:9], true, ""},
		{"another packet", []byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, true, ""},
		{"a string longer than any", append([]byte{0}, binary.AppendUvarint(nil, 1<<40)...), true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer, err := refusedBytes(t, clickhouse.Refuse, Refusal{Text: advice, Login: tt.login}, tt.first)
			if tt.code == "" {
				if err == nil || len(answer) > 0 {
					t.Errorf("answer %q, error %v", answer, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = readClickHouseAnswer(bufio.NewReader(bytes.NewReader(answer)))
			said, ok := errors.AsType[*ServerError](err)
			if !ok || said.Code != tt.code || said.Text != "DB::Exception: "+advice {
				t.Errorf("the client reads %v", err)
			}
		})
	}
}

// TestClickHouseClientShowsRefusal runs the printed command line.
func TestClickHouseClientShowsRefusal(t *testing.T) {
	for name, login := range map[string]bool{"login": true, "network": false} {
		t.Run(name, func(t *testing.T) {
			at := refusing(t, &clickhouse, true, Refusal{Text: advice, Login: login})
			code, out := ran(t, nil, append(clickhouse.Command(at), "--query", "select 1")...)
			if code == 0 || !strings.Contains(out, "DB::Exception: "+advice) {
				t.Errorf("exit code %d, %s", code, out)
			}
		})
	}
}

// playClickHouse is a server that says the same to everybody: it answers the
// hello, and a ping if it gets that far.
func playClickHouse(t *testing.T, hello []byte, pong byte) (addr string, asked chan string) {
	t.Helper()
	asked = make(chan string, 1)
	return serve(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		in.ReadByte()
		readClickHouseText(in)
		readClickHouseNumbers(in, 3)
		database, _ := readClickHouseText(in)
		user, _ := readClickHouseText(in)
		password, _ := readClickHouseText(in)
		asked <- database + " " + user + " " + password
		c.Write(hello)
		if _, err := in.ReadByte(); err == nil {
			c.Write([]byte{pong})
		}
	}), asked
}

func TestClickHousePing(t *testing.T) {
	tests := []struct {
		name  string
		hello []byte
		pong  byte
		want  Pong
		fails any // nil, or a pointer to the kind of error
	}{
		{"18.16", clickhouseServerHello("ClickHouse", 18, 16, 54412, 1), clickhouseServerAck, Pong{Version: "18.16.1"}, nil},
		{"a new one", clickhouseServerHello("ClickHouse", 24, 3, 54468, 5), clickhouseServerAck, Pong{Version: "24.3.5"}, nil},
		{"older than patch numbers", clickhouseServerHello("ClickHouse", 1, 1, 54380, 0), clickhouseServerAck, Pong{Version: "1.1"}, nil},
		{"older than time zones", clickhouseServerHello("ClickHouse", 1, 1, 54000, 0), clickhouseServerAck, Pong{Version: "1.1"}, nil},
		{"of another make", clickhouseServerHello("ByteHouse", 2, 4, 54468, 23), clickhouseServerAck, Pong{Version: "ByteHouse 2.4.23"}, nil},
		{"wants a password", clickhouseExceptionOf(516, "DB::Exception: alice"), 0, Pong{Note: "the server wants a password"}, nil},
		{"is out of memory", clickhouseExceptionOf(241, "DB::Exception: memory"), 0, Pong{}, new(*ServerError)},
		{"another protocol", []byte("-ERR unknown command\r\n"), 0, Pong{}, &errClickHousePacket},
		{"no pong", clickhouseServerHello("ClickHouse", 24, 3, 54468, 5), 2, Pong{}, &errClickHousePacket},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr, asked := playClickHouse(t, tt.hello, tt.pong)
			got, err := pingAddr(t, &clickhouse, Endpoint{User: "alice", Name: "shop"}, addr)
			if said := <-asked; said != "shop alice " {
				t.Errorf("the server was told %q", said)
			}
			switch want := tt.fails.(type) {
			case **ServerError:
				if !errors.As(err, want) || (*want).Code != "241" || (*want).Text != "DB::Exception: memory" {
					t.Errorf("got %v", err)
				}
				return
			case *error:
				if !errors.Is(err, *want) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || got.RoundTrip <= 0 {
				t.Fatalf("%+v, %v", got, err)
			}
			got.RoundTrip = 0
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzClickHouseRefuse(f *testing.F) {
	f.Add(clickhouseHelloOf("ClickHouse client", "shop", "alice", ""))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, first []byte) {
		answer, err := refusedBytes(t, clickhouse.Refuse, Refusal{Text: advice}, first)
		if (err == nil) != (len(answer) > 0) {
			t.Fatalf("answer %q, error %v", answer, err)
		}
	})
}

func FuzzClickHouseHello(f *testing.F) {
	f.Add(clickhouseServerHello("ClickHouse", 24, 3, 54468, 5))
	f.Add(clickhouseExceptionOf(516, "DB::Exception: alice"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		version, err := readClickHouseAnswer(bufio.NewReader(io.LimitReader(bytes.NewReader(answer), clickhouseLimit)))
		if (version == "") != (err != nil) {
			t.Fatalf("version %q, error %v", version, err)
		}
	})
}
