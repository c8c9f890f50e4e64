package dbproxy

import (
	"encoding/binary"
	"errors"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

var (
	cqlClientOptions = []byte{4, 0, 0, 1, cqlOptions, 0, 0, 0, 0}
	cqlClientStartup = cqlFrame{version: 4, stream: []byte{0, 2}, op: cqlStartup, body: cqlString(cqlString([]byte{0, 1}, "CQL_VERSION"), "3.0.0")}.encode()
)

func TestCassandraLines(t *testing.T) {
	testLines(t, &cassandra, []lineTest{
		{"all", Endpoint{Host: "127.0.0.1", Port: "9042", User: "alice", Name: "shop", Tunnel: true},
			"cqlsh --connect-timeout=20 -u alice -k shop 127.0.0.1 9042", "jdbc:cassandra://127.0.0.1:9042/shop",
			[]string{"CQLSH_HOST=127.0.0.1", "CQLSH_PORT=9042"}},
		{"least", Endpoint{Host: "127.0.0.1", Port: "9042", Tunnel: true},
			"cqlsh --connect-timeout=20 127.0.0.1 9042", "jdbc:cassandra://127.0.0.1:9042", nil},
	})
}

func TestCassandraSpeaks(t *testing.T) {
	testSpeaks(t, &cassandra, []string{
		string(cqlClientOptions), string(cqlClientStartup), "\x05\x10\x00\x00\x05\x00\x00\x00\x00",
		"\x02\x00\x00\x05\x00\x00\x00\x00", "\x42\x00\x00\x00\x05\x00\x00\x00\x00", "\x04\x00\x00\x00\x05\x00\x00\x00",
	}, []string{
		"GET / HTTP/1.1\r\n\r\n", "BREW / HTTP/1.1\r\n\r\n", "*1\r\n$4\r\nPING\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01", string(tdsClientPrelogin),
		"\x04\x00\x00\x00\x01\x00\x00\x00\x00", "\x04\x00\x00\x00\x07\x00\x00\x00\x00", "\x84\x00\x00\x00\x06\x00\x00\x00\x00",
		string(mongoEncode(mongoOpMsg, 0, make([]byte, 0x104-mongoHeader))),
	})
}

func TestCassandraRefuseDriver(t *testing.T) {
	for _, r := range []Refusal{expired, {Text: "the proxy cannot be reached", Tunnel: true}} {
		for _, version := range []int{0, 3, 4, 5} {
			at := refusing(t, &cassandra, true, r)
			cluster := gocql.NewCluster(at.Host)
			cluster.Port, _ = strconv.Atoi(at.Port)
			cluster.ProtoVersion = version
			cluster.DisableInitialHostLookup = true
			cluster.Authenticator = gocql.PasswordAuthenticator{Username: at.User, Password: "x"}
			cluster.Logger = quiet{}
			session, err := cluster.CreateSession()
			if err == nil {
				session.Close()
			}
			if err == nil || !strings.Contains(err.Error(), r.Text) {
				t.Errorf("version %d: %v", version, err)
			}
		}
	}
}

// quiet takes the log of gocql.
type quiet struct{}

func (quiet) Error(string, ...gocql.LogField)   {}
func (quiet) Warning(string, ...gocql.LogField) {}
func (quiet) Info(string, ...gocql.LogField)    {}
func (quiet) Debug(string, ...gocql.LogField)   {}

func TestCassandraRefuseCqlsh(t *testing.T) {
	offer(t, "cqlsh")
	at := refusing(t, &cassandra, true, expired)
	if got := say(t, append(cassandra.Command(at), "-e", "exit")...); !strings.Contains(got, expired.Text) {
		t.Errorf("cqlsh said %s", got)
	}
}

// TestCassandraRefusePython is the driver that cqlsh is built on, which begins
// with DataStax's own version and comes down from there.
func TestCassandraRefusePython(t *testing.T) {
	const program = `import sys
from cassandra.cluster import Cluster
Cluster([sys.argv[1]], port=int(sys.argv[2])).connect()`
	python := "/usr/bin/python3" // where Debian's packages are
	if exec.Command(python, "-c", "import cassandra").Run() != nil {
		t.Skip("the Debian package python3-cassandra is not installed")
	}
	at := refusing(t, &cassandra, true, expired)
	if got := say(t, python, "-c", program, at.Host, at.Port); !strings.Contains(got, "Bad credentials") || !strings.Contains(got, expired.Text) {
		t.Errorf("the driver said %s", got)
	}
}

func TestCassandraRefuseVersions(t *testing.T) {
	startup := func(version byte, stream ...byte) cqlFrame {
		return cqlFrame{version: version, stream: stream, op: cqlStartup, body: cqlString(cqlString([]byte{0, 1}, "CQL_VERSION"), "3.0.0")}
	}
	for _, tt := range []struct {
		sent    cqlFrame
		version byte
		code    uint32
	}{
		{startup(2, 9), 0x82, cqlBadCredentials},
		{startup(3, 1, 2), 0x83, cqlBadCredentials},
		{startup(5, 1, 2), 0x85, cqlBadCredentials},
		{startup(6, 1, 2), 0x84, cqlProtocolError},
		{startup(0x42, 1, 2), 0x84, cqlProtocolError},
	} {
		c := dialEndpoint(t, refusing(t, &cassandra, true, expired))
		c.Write(tt.sent.encode())
		f, err := readCQL(c)
		if err != nil {
			t.Fatal(err)
		}
		if code := binary.BigEndian.Uint32(f.body); f.version != tt.version || f.op != cqlError || code != tt.code || string(f.stream) != string(tt.sent.stream) {
			t.Errorf("version %d: version %#x, operation %d, error %#x, stream %v", tt.sent.version, f.version, f.op, code, f.stream)
		}
	}
}

// cqlRelease is the result of a query with one text in it.
func cqlRelease(flags uint32, version string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 2}, flags)
	b = append(b, 0, 0, 0, 1)
	if flags&2 != 0 {
		b = append(b, 0, 0, 0, 2, 'p', 's')
	}
	for _, s := range []string{"system", "local", "release_version"} {
		b = cqlString(b, s)
	}
	b = append(b, 0, 0x0d, 0, 0, 0, 1)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(version))), version...)
}

func cqlSays(code uint32, text string) []byte {
	return cqlString(binary.BigEndian.AppendUint32(nil, code), text)
}

func TestCassandraPing(t *testing.T) {
	type answer struct {
		op   byte
		body []byte
	}
	supported := answer{cqlSupported, cqlMultimap("CQL_VERSION", "3.4.6")}
	authenticate := answer{cqlAuthenticate, cqlString(nil, "org.apache.cassandra.auth.PasswordAuthenticator")}
	for _, tt := range []struct {
		name    string
		answers []answer
		want    Pong
		wantErr string
	}{
		{"open", []answer{supported, {cqlReady, nil}, {cqlResult, cqlRelease(1, "5.0.2")}}, Pong{Version: "5.0.2"}, ""},
		{"logged in", []answer{supported, authenticate, {cqlAuthSuccess, nil}, {cqlResult, cqlRelease(3, "4.1.0")}}, Pong{Version: "4.1.0"}, ""},
		{"password", []answer{supported, authenticate, {cqlError, cqlSays(cqlBadCredentials, "no")}},
			Pong{Version: "CQL 3.4.6", Note: "wants a login (PasswordAuthenticator)"}, ""},
		{"challenge", []answer{supported, authenticate, {0x0e, nil}}, Pong{Version: "CQL 3.4.6", Note: "wants a login (PasswordAuthenticator)"}, ""},
		{"may not ask", []answer{supported, {cqlReady, nil}, {cqlError, cqlSays(0x2100, "not for you")}},
			Pong{Version: "CQL 3.4.6", Note: "the server says: not for you (error 0x2100)"}, ""},
		{"no row", []answer{supported, {cqlReady, nil}, {cqlResult, []byte{0, 0, 0, 1}}}, Pong{Version: "CQL 3.4.6"}, ""},
		{"refused", []answer{supported, {cqlError, cqlSays(0x1001, "too busy")}}, Pong{}, "too busy (error 0x1001)"},
		{"refused at once", []answer{{cqlError, cqlSays(cqlProtocolError, "no")}}, Pong{}, "the server says: no"},
		{"no server of ours", []answer{{cqlReady, nil}}, Pong{}, "answer 0x2 to OPTIONS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ping(t, &cassandra, func(c net.Conn) {
				for _, a := range tt.answers {
					f, err := readCQL(c)
					if err != nil {
						return
					}
					if f.op == cqlAuthResponse && string(f.body[4:]) != "\x00alice\x00tshx" {
						t.Errorf("login %q", f.body)
					}
					c.Write(f.answer(a.op, a.body))
				}
			})
			testPong(t, got, err, tt.want, tt.wantErr)
		})
	}
}

func TestReadCQLTooLong(t *testing.T) {
	_, err := readCQL(strings.NewReader("\x84\x00\x00\x00\x06\x7f\xff\xff\xff"))
	if !errors.Is(err, errCQL) {
		t.Error(err)
	}
}

func FuzzCassandraRefuse(f *testing.F) {
	f.Add(append(append([]byte{}, cqlClientOptions...), cqlClientStartup...))
	f.Add([]byte("\x42\x00\x00\x00\x05\x00\x00\x00\x00\x02\x00\x00\x01\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, sent []byte) { fuzzRefuse(t, &cassandra, sent) })
}

func FuzzCassandraPing(f *testing.F) {
	ask := cqlFrame{version: cqlOwn, stream: []byte{0, 0}}
	supported := ask.answer(cqlSupported, cqlMultimap("CQL_VERSION", "3.4.6"))
	f.Add(append(append(supported, ask.answer(cqlReady, nil)...), ask.answer(cqlResult, cqlRelease(3, "5.0.2"))...))
	f.Add(append(supported, ask.answer(cqlError, cqlSays(1, "x"))...))
	f.Fuzz(func(t *testing.T, answers []byte) { fuzzPing(t, &cassandra, answers) })
}
