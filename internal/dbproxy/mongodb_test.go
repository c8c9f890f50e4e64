package dbproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// offer skips a test whose client no Debian package has, and which therefore
// is not on every machine that runs the tests.
func offer(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed", program)
	}
}

// expired is a refusal as users see it.
var expired = Refusal{Text: "the certificate of orders expired 3 h ago; run: tsh db login orders", Login: true, Tunnel: true}

func TestMongoDBLines(t *testing.T) {
	const wait = "directConnection=true&serverSelectionTimeoutMS=20000"
	testLines(t, &mongodb, []lineTest{
		{
			"tunnel", Endpoint{Host: "127.0.0.1", Port: "27017", User: "alice", Name: "a b", Tunnel: true},
			"mongosh 'mongodb://127.0.0.1:27017/a%20b?" + wait + "'", "mongodb://127.0.0.1:27017/a%20b?" + wait,
			[]string{"MONGODB_URI=mongodb://127.0.0.1:27017/a%20b?" + wait},
		},
		{
			"plain", Endpoint{Host: "localhost", Port: "1", Files: files},
			"mongosh 'mongodb://localhost:1/?" + wait + "' --tls --tlsCertificateKeyFile '/c&d.pem' --tlsCAFile '/home/a b/ca.pem'",
			"mongodb://localhost:1/?" + wait + "&tls=true&tlsCertificateKeyFile=/c%26d.pem&tlsCAFile=/home/a%20b/ca.pem", nil,
		},
		{
			"old shell", Endpoint{Host: "localhost", Port: "1", Files: files, Has: installed("mongo")},
			"mongo 'mongodb://localhost:1/?" + wait + "' --ssl --sslPEMKeyFile '/c&d.pem' --sslCAFile '/home/a b/ca.pem'",
			"mongodb://localhost:1/?" + wait + "&tls=true&tlsCertificateKeyFile=/c%26d.pem&tlsCAFile=/home/a%20b/ca.pem", nil,
		},
		{
			"unix socket", Endpoint{Socket: "/run/x/m.sock", Name: "app", Tunnel: true},
			"mongosh 'mongodb://%2Frun%2Fx%2Fm.sock/app?" + wait + "'", "mongodb://%2Frun%2Fx%2Fm.sock/app?" + wait, nil,
		},
	})
	for _, bad := range []Endpoint{{Socket: "/run/m", Tunnel: true}, {Socket: "/run/m.sock"}} {
		if mongodb.Trouble(bad) == "" {
			t.Errorf("%+v is no trouble", bad)
		}
	}
}

// mongoCommand is a message as the driver's own code writes it.
func mongoCommand(op int32, doc bson.D) []byte {
	raw, err := bson.Marshal(doc)
	if err != nil {
		panic(err)
	}
	id := wiremessage.NextRequestID()
	at, m := wiremessage.AppendHeaderStart(nil, id, 0, wiremessage.OpCode(op))
	if op == mongoOpQuery {
		m = wiremessage.AppendQueryFlags(m, 0)
		m = wiremessage.AppendQueryFullCollectionName(m, "admin.$cmd")
		m = wiremessage.AppendQueryNumberToReturn(wiremessage.AppendQueryNumberToSkip(m, 0), -1)
	} else {
		m = wiremessage.AppendMsgFlags(m, 0)
		m = wiremessage.AppendMsgSectionType(m, wiremessage.SingleDocument)
	}
	m = append(m, raw...)
	return bsoncore.UpdateLength(m, at, int32(len(m)))
}

func TestMongoDBSpeaks(t *testing.T) {
	hello := string(mongoCommand(mongoOpMsg, bson.D{{Key: "hello", Value: 1}}))
	old := string(mongoCommand(mongoOpQuery, bson.D{{Key: "isMaster", Value: 1}}))
	testSpeaks(t, &mongodb, []string{hello, old, hello[:12]}, []string{
		"GET / HTTP/1.1\r\n\r\n", "*1\r\n$4\r\nPING\r\n", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "\x16\x03\x01\x02\x00\x01\x00\x01",
		string(tdsClientPrelogin), string(cqlClientOptions), string(tnsPacket(tnsConnect, tnsConnectBody(Endpoint{Name: "XE"}))),
	})
}

// TestMongoDBLengths: no length leads out of the message, or nowhere.
func TestMongoDBLengths(t *testing.T) {
	for _, n := range []uint32{0, 3, 1 << 31, 1<<32 - 1} {
		body := binary.LittleEndian.AppendUint32([]byte{0, 0, 0, 0, 1}, n)
		m := mongoMessage{op: mongoOpMsg, body: append(body, make([]byte, 3)...)}
		if doc, err := m.document(); len(doc) > len(m.body) {
			t.Errorf("%d: %x, %v", n, doc, err)
		}
	}
}

func TestMongoDBRefuseDriver(t *testing.T) {
	for _, r := range []Refusal{expired, {Text: "the proxy cannot be reached", Tunnel: true}} {
		at := refusing(t, &mongodb, true, r)
		client, err := mongo.Connect(options.Client().ApplyURI(mongodb.URL(at)))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Disconnect(context.WithoutCancel(t.Context()))
		_, err = client.Database("app").Collection("x").InsertOne(t.Context(), bson.D{{Key: "a", Value: 1}})
		var said mongo.CommandError
		if !errors.As(err, &said) || said.Message != r.Text {
			t.Fatalf("insert: %v", err)
		}
		if got, want := said.Name, map[bool]string{true: "AuthenticationFailed", false: "OperationFailed"}[r.Login]; got != want {
			t.Errorf("error %s, want %s", got, want)
		}
	}
}

func TestMongoDBRefuseMongosh(t *testing.T) {
	offer(t, "mongosh")
	at := refusing(t, &mongodb, true, expired)
	at.Has = installed("mongosh")
	if got := say(t, append(mongodb.Command(at), "--quiet", "--eval", "db.x.find()")...); !strings.HasSuffix(got, "MongoServerError: "+expired.Text) {
		t.Errorf("mongosh said %s", got)
	}
}

// TestMongoDBRefuseShapes are messages that the driver above does not send.
func TestMongoDBRefuseShapes(t *testing.T) {
	const moreToCome = 2
	sequenceFirst := append(make([]byte, 4), 1, 10, 0, 0, 0, 'd', 'o', 'c', 's', 0, 0, 0)
	ping := bsonDocument{}.int32("ping", 1).bytes()
	silent := append([]byte{moreToCome, 0, 0, 0, 0}, ping...)
	long := append(make([]byte, 5), bsonDocument{}.int32("insert", 1).text("x", strings.Repeat("a", 3*mongoKept)).bytes()...)
	for _, tt := range []struct {
		name string
		sent []byte
	}{
		{"old query", mongoCommand(mongoOpQuery, bson.D{{Key: "ping", Value: 1}})},
		{"sequence first", mongoEncode(mongoOpMsg, 0, append(append(sequenceFirst[:15], 0), ping...))},
		{"wants no answer, then does", append(mongoEncode(mongoOpMsg, 0, silent), mongoCommand(mongoOpMsg, bson.D{{Key: "ping", Value: 1}})...)},
		{"longer than is kept", mongoEncode(mongoOpMsg, 0, long)},
		{"empty", mongoEncode(mongoOpMsg, 0, nil)},
		{"unknown operation", mongoEncode(7, 0, ping)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dialEndpoint(t, refusing(t, &mongodb, true, expired))
			if _, err := c.Write(tt.sent); err != nil {
				t.Fatal(err)
			}
			m, err := readMongo(c)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := m.document()
			if err != nil {
				t.Fatal(err)
			}
			if got := bson.Raw(doc).Lookup("errmsg").StringValue(); got != expired.Text {
				t.Errorf("answered %s", bson.Raw(doc))
			}
		})
	}
}

// dialEndpoint connects like a client, for as long as the test.
func dialEndpoint(t testing.TB, at Endpoint) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", at.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ping pings a server that answers each message as read by next.
func ping(t testing.TB, e *Engine, server func(net.Conn)) (Pong, error) {
	t.Helper()
	client, other := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); server(other); other.Close() }()
	defer func() { client.Close(); <-done }()
	client.SetDeadline(time.Now().Add(time.Minute))
	return e.Ping(t.Context(), client, Endpoint{Host: "127.0.0.1", Port: "1", User: "alice", Name: "app", Tunnel: true})
}

// testPong compares what has no time in it.
func testPong(t testing.TB, got Pong, err error, want Pong, wantErr string) {
	t.Helper()
	if wantErr != "" {
		if err == nil || !strings.Contains(err.Error(), wantErr) {
			t.Errorf("error %v, want %s", err, wantErr)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.RoundTrip <= 0 {
		t.Error("no round trip")
	}
	got.RoundTrip = 0
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestMongoDBPing(t *testing.T) {
	hello := bson.D{{Key: "ismaster", Value: true}, {Key: "topology", Value: bson.D{{Key: "hosts", Value: bson.A{"a", 1, nil}}}},
		{Key: "id", Value: bson.NewObjectID()}, {Key: "time", Value: bson.DateTime(1)}, {Key: "re", Value: bson.Regex{Pattern: "a", Options: "i"}},
		{Key: "bin", Value: bson.Binary{Data: []byte{}}}, {Key: "dec", Value: bson.Decimal128{}}, {Key: "js", Value: bson.JavaScript("x")},
		{Key: "ok", Value: int64(1)}}
	for _, tt := range []struct {
		name    string
		build   bson.D
		want    Pong
		wantErr string
	}{
		{"version", bson.D{{Key: "version", Value: "7.0.5"}, {Key: "ok", Value: 1.0}}, Pong{Version: "7.0.5"}, ""},
		{"truth", bson.D{{Key: "version", Value: "7.0.5"}, {Key: "ok", Value: true}}, Pong{Version: "7.0.5"}, ""},
		{"refused", bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "log in"}}, Pong{Note: "log in"}, ""},
		{"no text", bson.D{{Key: "version", Value: 7}, {Key: "ok", Value: int32(1)}}, Pong{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ping(t, &mongodb, func(c net.Conn) {
				for _, answer := range []bson.D{hello, tt.build} {
					m, err := readMongo(c)
					if err != nil {
						return
					}
					raw, err := bson.Marshal(answer)
					if err != nil {
						panic(err)
					}
					c.Write(m.reply(raw))
				}
			})
			testPong(t, got, err, tt.want, tt.wantErr)
		})
	}
	got, err := ping(t, &mongodb, func(c net.Conn) {
		m, _ := readMongo(c)
		c.Write(m.reply(mongoError(expired)))
	})
	testPong(t, got, err, Pong{}, expired.Text)
	got, err = ping(t, &mongodb, func(c net.Conn) { readMongo(c); io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	testPong(t, got, err, Pong{}, "malformed MongoDB message")
}

func FuzzMongoDBRefuse(f *testing.F) {
	f.Add(mongoCommand(mongoOpMsg, bson.D{{Key: "hello", Value: 1}}))
	f.Add(mongoCommand(mongoOpQuery, bson.D{{Key: "isMaster", Value: 1}}))
	f.Add(append(mongoCommand(mongoOpMsg, bson.D{{Key: "hello", Value: 1}}), mongoCommand(mongoOpMsg, bson.D{{Key: "find", Value: "x"}})...))
	f.Fuzz(func(t *testing.T, sent []byte) { fuzzRefuse(t, &mongodb, sent) })
}

func FuzzMongoDBPing(f *testing.F) {
	ok := mongoEncode(mongoOpMsg, 1, append(make([]byte, 5), bsonDocument{}.double("ok", 1).text("version", "7").bytes()...))
	f.Add(append(ok, ok...))
	f.Add(mongoEncode(mongoOpReply, 1, append(make([]byte, 20), mongoHello()...)))
	f.Fuzz(func(t *testing.T, answers []byte) { fuzzPing(t, &mongodb, answers) })
}

// stream is a connection that holds all that the other side says, and takes
// everything.
type stream struct {
	net.Conn
	in  io.Reader
	out int
}

func (s *stream) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *stream) Write(b []byte) (int, error) { s.out += len(b); return len(b), nil }

// fuzzRefuse finds a panic, and an answer to a client that has said nothing or
// an answer out of proportion.
func fuzzRefuse(t *testing.T, e *Engine, sent []byte) {
	t.Helper()
	s := &stream{in: strings.NewReader(string(sent))}
	err := e.Refuse(s, expired)
	if s.out > 1024+32*len(sent) || len(sent) == 0 && s.out > 0 {
		t.Errorf("%d bytes in answer to %d, error %v", s.out, len(sent), err)
	}
}

// fuzzPing finds a panic, and a pong out of nothing.
func fuzzPing(t *testing.T, e *Engine, answers []byte) {
	t.Helper()
	p, err := e.Ping(t.Context(), &stream{in: strings.NewReader(string(answers))}, Endpoint{User: "alice", Name: "app"})
	if err == nil && len(answers) < 8 {
		t.Errorf("%+v from %q", p, answers)
	}
	if len(p.Version)+len(p.Note) > len(answers)+100 {
		t.Errorf("%+v is longer than what was said", p)
	}
}
