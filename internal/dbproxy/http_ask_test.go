package dbproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pinged runs an engine's ping against an HTTP handler.
func pinged(t *testing.T, e *Engine, at Endpoint, h http.HandlerFunc) (Pong, error) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return pingAddr(t, e, at, srv.Listener.Addr().String())
}

func pingAddr(t *testing.T, e *Engine, at Endpoint, addr string) (Pong, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	return e.Ping(ctx, c, at)
}

func reply(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// Greetings as the public documentation of the servers shows them.
const (
	elasticGreeting = `{
  "name" : "instance-0000000000",
  "cluster_name" : "my_test_cluster",
  "cluster_uuid" : "5QaxoN0pRZuOmWSxstBBwQ",
  "version" : {
    "build_date" : "2024-02-01T13:07:13.727175297Z",
    "minimum_wire_compatibility_version" : "7.17.0",
    "build_hash" : "6185ba65d27469afabc9bc951cded6c17c21e3f3",
    "number" : "8.12.1",
    "lucene_version" : "9.9.2",
    "minimum_index_compatibility_version" : "7.0.0",
    "build_flavor" : "default",
    "build_snapshot" : false,
    "build_type" : "docker"
  },
  "tagline" : "You Know, for Search"
}`
	opensearchGreeting = `{
  "name" : "opensearch-node1",
  "cluster_name" : "opensearch-cluster",
  "cluster_uuid" : "tuWuzUA2RWmNkPdJ0mfkCQ",
  "version" : {
    "distribution" : "opensearch",
    "number" : "2.11.1",
    "build_type" : "tar",
    "lucene_version" : "9.7.0"
  },
  "tagline" : "The OpenSearch Project: https://opensearch.org/"
}`
	dynamoMissingToken = `{"__type":"com.amazon.coral.service#MissingAuthenticationTokenException","message":"Request is missing Authentication Token"}`
	snowflakeNoToken   = `{"data":null,"code":"390101","message":"Authorization header not found in the request data.","success":false,"headers":null}`
)

func TestHTTPPings(t *testing.T) {
	tests := []struct {
		name    string
		engine  *Engine
		handler http.HandlerFunc
		want    Pong  // without its time
		failure error // of this type
	}{
		{"elasticsearch", &elasticsearch, reply(200, elasticGreeting), Pong{Version: "8.12.1", Note: "node instance-0000000000"}, nil},
		{"opensearch", &opensearch, reply(200, opensearchGreeting), Pong{Version: "2.11.1", Note: "node opensearch-node1"}, nil},
		{
			"opensearch in the place of elasticsearch", &elasticsearch, reply(200, opensearchGreeting),
			Pong{Version: "OpenSearch 2.11.1", Note: "node opensearch-node1"}, nil,
		},
		{"elasticsearch wants a login", &elasticsearch, reply(401, `{"error":{},"status":401}`), Pong{Note: "the server wants a login"}, nil},
		{"not elasticsearch", &elasticsearch, reply(200, "<h1>It works!</h1>"), Pong{}, &ReplyError{}},
		{"access denied on the way", &opensearch, reply(403, `{"error":"access to db denied"}`), Pong{}, &ReplyError{}},
		{
			"dynamodb, not signed", &dynamodb, reply(400, dynamoMissingToken, "X-Amzn-Requestid", "A1"),
			Pong{Note: "DynamoDB tells no version; it answers MissingAuthenticationTokenException"}, nil,
		},
		{
			"dynamodb, signed on the way", &dynamodb, reply(200, `{"TableNames":[]}`, "X-Amzn-Requestid", "A1"),
			Pong{Note: "DynamoDB tells no version"}, nil,
		},
		{"not dynamodb", &dynamodb, reply(400, dynamoMissingToken), Pong{}, &ReplyError{}},
		{"snowflake", &snowflake, reply(401, snowflakeNoToken), Pong{}, nil},
		{"not snowflake", &snowflake, reply(404, `{"error":"not found"}`), Pong{}, &ReplyError{}},
		{"clickhouse-http", &clickhouseHTTP, reply(200, "24.3.1.2672\n"), Pong{Version: "24.3.1.2672"}, nil},
		{
			"clickhouse-http wants a password", &clickhouseHTTP, reply(403, "Code: 516. DB::Exception: alice", "X-ClickHouse-Exception-Code", "516"),
			Pong{Note: "the server wants a password"}, nil,
		},
		{
			"clickhouse-http of old wants a password", &clickhouseHTTP,
			reply(401, "Code: 192, e.displayText() = DB::Exception: Unknown user bob, e.what() = DB::Exception\n"),
			Pong{Note: "the server wants a password"}, nil,
		},
		{"something with a code", &clickhouseHTTP, reply(404, "Code: 404 not found."), Pong{}, &ReplyError{}},
		{
			"clickhouse-http is out of memory", &clickhouseHTTP, reply(500, "Code: 241. DB::Exception", "X-ClickHouse-Exception-Code", "241"),
			Pong{}, &ServerError{},
		},
		{"not clickhouse-http", &clickhouseHTTP, reply(200, "Hello\n"), Pong{}, &ReplyError{}},
		{"an answer without end", &elasticsearch, reply(200, `{"name":"`+strings.Repeat("x", 4<<20)), Pong{}, &ReplyError{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pinged(t, tt.engine, Endpoint{User: "alice", Name: "shop"}, tt.handler)
			switch tt.failure.(type) {
			case *ReplyError:
				if said, ok := errors.AsType[*ReplyError](err); !ok || len(said.Text) > httpExcerpt {
					t.Fatalf("got %v, %v", got, err)
				}
				return
			case *ServerError:
				if _, ok := errors.AsType[*ServerError](err); !ok {
					t.Fatalf("got %v, %v", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.RoundTrip <= 0 {
				t.Errorf("round trip %v", got.RoundTrip)
			}
			got.RoundTrip = 0
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestPingRequests: what the servers tell apart requests by.
func TestPingRequests(t *testing.T) {
	for _, tt := range []struct {
		engine *Engine
		want   string
	}{
		{&elasticsearch, "GET / "},
		{&opensearch, "GET / "},
		{&dynamodb, `POST / DynamoDB_20120810.ListTables {"Limit":1}`},
		{&snowflake, "POST /session/heartbeat {}"},
		{&clickhouseHTTP, "GET /?database=shop&query=SELECT+version%28%29&user=alice "},
	} {
		var got string
		pinged(t, tt.engine, Endpoint{User: "alice", Name: "shop"}, func(_ http.ResponseWriter, req *http.Request) {
			body, _ := io.ReadAll(req.Body)
			words := []string{req.Method, req.RequestURI, string(body)}
			if target := req.Header.Get("X-Amz-Target"); target != "" {
				words = []string{req.Method, req.RequestURI, target, string(body)}
			}
			got = strings.Join(words, " ")
		})
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.engine.Protocol, d)
		}
	}
}

func FuzzHTTPPing(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\nX-Amzn-Requestid: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		for _, e := range []*Engine{&elasticsearch, &dynamodb, &snowflake, &clickhouseHTTP, &clickhouse, &spanner} {
			c := &answering{Reader: bytes.NewReader(answer)}
			if pong, err := e.Ping(t.Context(), c, Endpoint{}); err != nil && pong != (Pong{}) {
				t.Fatalf("%s: %v beside %v", e.Protocol, pong, err)
			}
		}
	})
}

// answering is a connection to a server that says what is in it and takes
// everything.
type answering struct {
	net.Conn
	io.Reader
}

func (a *answering) Read(p []byte) (int, error)  { return a.Reader.Read(p) }
func (a *answering) Write(p []byte) (int, error) { return len(p), nil }
