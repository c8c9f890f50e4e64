package dbproxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// advice is a refusal whose text has what JSON, HTML and percent signs mangle.
const advice = `certificate of "orders" expired 3 minutes ago; run: tsh db login orders && retry <100%>`

// getRefused sends one request and returns the answer with its body.
func getRefused(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestRefusalShapes(t *testing.T) {
	quoted, err := json.Marshal(advice)
	if err != nil {
		t.Fatal(err)
	}
	text := string(quoted)
	elastic := func(kind, status string) string {
		return `{"error":{"reason":` + text + `,"root_cause":[{"reason":` + text + `,"type":"` + kind + `"}],"type":"` + kind + `"},"status":` + status + `}`
	}
	tests := []struct {
		name   string
		engine *Engine
		accept string
		login  bool
		status int
		kind   string // content type
		body   string // compared as JSON if it is
	}{
		{"not HTTP", &redis, "text/html", true, 421, "text/plain; charset=utf-8", advice + "\n"},
		{"not HTTP, json", &redis, "application/json", false, 421, "application/json", `{"error":` + text + `,"status":421}`},
		{"elasticsearch", &elasticsearch, "", false, 502, "application/json; charset=UTF-8", elastic("connect_transport_exception", "502")},
		{"opensearch login", &opensearch, "", true, 401, "application/json; charset=UTF-8", elastic("security_exception", "401")},
		{
			"dynamodb", &dynamodb, "", false, 400, "application/x-amz-json-1.0",
			`{"__type":"com.amazonaws.dynamodb.v20120810#DatabaseUnreachableException","message":` + text + `}`,
		},
		{
			"dynamodb login", &dynamodb, "", true, 400, "application/x-amz-json-1.0",
			`{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","message":` + text + `}`,
		},
		{
			"snowflake", &snowflake, "", false, 200, "application/json",
			`{"success":false,"code":"390000","data":{},"message":` + text + `}`,
		},
		{
			"snowflake login", &snowflake, "", true, 200, "application/json",
			`{"success":false,"code":"390100","data":{},"message":` + text + `}`,
		},
		{
			"clickhouse-http", &clickhouseHTTP, "", false, 502, "text/plain; charset=UTF-8",
			"Code: 210. DB::Exception: " + advice + "\n",
		},
		{
			"clickhouse-http login", &clickhouseHTTP, "", true, 401, "text/plain; charset=UTF-8",
			"Code: 497. DB::Exception: " + advice + "\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := refusing(t, tt.engine, true, Refusal{Text: advice, Login: tt.login}).Addr()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/_search?q=1", nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.accept != "" {
				req.Header.Set("Accept", tt.accept)
			}
			resp, body := getRefused(t, req)
			if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != tt.kind || !resp.Close {
				t.Errorf("status %d, %q, closes %v", resp.StatusCode, resp.Header.Get("Content-Type"), resp.Close)
			}
			if d := cmp.Diff(canonical(tt.body), canonical(body)); d != "" {
				t.Error(d)
			}
			if strings.Contains(body, `\u003c`) {
				t.Errorf("%s is escaped more than JSON asks for", body)
			}
			if challenged := resp.Header.Get("WWW-Authenticate") != ""; challenged != (tt.status == 401) {
				t.Errorf("challenge %v with status %d", challenged, resp.StatusCode)
			}
		})
	}
}

// canonical is s, with the keys in order and no spaces if it is JSON.
func canonical(s string) string {
	var v any
	if json.Unmarshal([]byte(s), &v) != nil {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return s
	}
	return string(b)
}

// TestRefusedBodies: the answer does not wait for the body, and a body that is
// on its way does not take it away.
func TestRefusedBodies(t *testing.T) {
	addr := refusing(t, &elasticsearch, true, Refusal{Text: advice}).Addr()
	for name, expect := range map[string]string{"sent at once": "", "asks first": "100-continue"} {
		t.Run(name, func(t *testing.T) {
			body := bytes.NewReader(make([]byte, 8<<20))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+addr+"/_bulk", body)
			if err != nil {
				t.Fatal(err)
			}
			if expect != "" {
				req.Header.Set("Expect", expect)
			}
			resp, got := getRefused(t, req)
			if resp.StatusCode != http.StatusBadGateway || !strings.Contains(got, "expired 3 minutes ago") {
				t.Errorf("status %d, %s", resp.StatusCode, got)
			}
			if expect != "" && body.Len() != 8<<20 {
				t.Errorf("%d bytes of the body were sent", 8<<20-body.Len())
			}
		})
	}
	t.Run("HEAD has none", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://"+addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, got := getRefused(t, req); resp.StatusCode != http.StatusBadGateway || got != "" || resp.ContentLength <= 0 {
			t.Errorf("status %d, length %d, body %q", resp.StatusCode, resp.ContentLength, got)
		}
	})
}

// refusedBytes is what a client gets that sends first and then ends its side.
func refusedBytes(t testing.TB, refuse func(net.Conn, Refusal) error, r Refusal, first []byte) (answer []byte, err error) {
	t.Helper()
	client, local := net.Pipe()
	go func() {
		client.Write(first)
		client.Close()
	}()
	var out bytes.Buffer
	err = refuse(&written{Conn: local, out: &out}, r)
	local.Close()
	return out.Bytes(), err
}

// written is a connection that keeps what is written to it.
type written struct {
	net.Conn
	out *bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) { return w.out.Write(p) }

func TestRefuseHTTPOddClients(t *testing.T) {
	tests := []struct {
		name   string
		first  string
		status int // 0: an error and no answer
	}{
		{"an ordinary one", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 421},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", 421},
		{"a head longer than anybody reads", "GET / HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("a", httpHead) + "\r\n\r\n", 421},
		{"a line that never ends", "GET /" + strings.Repeat("a", 2*httpHead), 421},
		{"nothing", "", 0},
		{"half a head", "GET / HTTP/1.1\r\nHost: x\r\n", 0},
		{"another protocol", "*1\r\n$4\r\nPING\r\n", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			refuse := func(c net.Conn, r Refusal) error { return refuseHTTP(c, r, strayHTTP) }
			answer, err := refusedBytes(t, refuse, Refusal{Text: advice}, []byte(tt.first))
			if tt.status == 0 {
				if err == nil || len(answer) > 0 {
					t.Errorf("answer %q, error %v", answer, err)
				}
				return
			}
			resp, perr := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
			if err != nil || perr != nil {
				t.Fatal(err, perr)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
		})
	}
}

// TestRefuseTLSClient: a client that does TLS itself gets an alert that its
// library has words for.
func TestRefuseTLSClient(t *testing.T) {
	for name, tt := range map[string]struct {
		login bool
		want  string
	}{
		"login":   {true, "expired certificate"},
		"network": {false, "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			at := refusing(t, &elasticsearch, false, Refusal{Text: advice, Login: tt.login})
			c, err := new(net.Dialer).DialContext(t.Context(), "tcp", at.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			err = tls.Client(c, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true}).HandshakeContext(t.Context())
			var alert *net.OpError
			if !errors.As(err, &alert) || alert.Op != "remote error" || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the client sees %v, want an alert of %s", err, tt.want)
			}
		})
	}
}

func TestSpeaksHTTP(t *testing.T) {
	tests := []struct {
		first       string
		http1, h2   bool
		description string
	}{
		{"GET / HTTP/1.1\r\n", true, false, "GET"},
		{"\r\nOPTIONS * HTTP/1.0\n", true, false, "an empty line before"},
		{"PUT http://localhost/ HTTP/1.1\r\nHo", true, false, "an absolute target"},
		{"GET / HTTP/1.1", false, false, "no whole line"},
		{"GET k HTTP/1.1\r\n", false, false, "no target"},
		{"GET  / HTTP/1.1\r\n", false, false, "two spaces"},
		{"GET /a\r\n", false, false, "no version"},
		{"HSET / HTTP/1.1\r\n", false, false, "no method"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", false, true, "the preface of HTTP/2"},
		{"get / HTTP/1.1\r\n", false, false, "methods are capitals"},
		{"\x16\x03\x01", false, false, "TLS"},
		{"\x00\x00\x00\x08\x04\xd2\x16\x2f", false, false, "PostgreSQL"},
		{"*1\r\n$4\r\nPING\r\n", false, false, "Redis"},
	}
	for _, tt := range tests {
		if got := speaksHTTP([]byte(tt.first)); got != tt.http1 {
			t.Errorf("%s: HTTP/1 %v", tt.description, got)
		}
		if got := speaksHTTP2([]byte(tt.first)); got != tt.h2 {
			t.Errorf("%s: HTTP/2 %v", tt.description, got)
		}
	}
}

// ran runs a program with variables of its own besides, and returns its exit
// code and all that it printed.
func ran(t *testing.T, env []string, argv ...string) (code int, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), needProgram(t, argv[0]), argv[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C.UTF-8"}, env...)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// elsewhere is the environment of people who reach the web by a proxy.
var elsewhere = []string{"HTTP_PROXY=http://127.0.0.1:1", "http_proxy=http://127.0.0.1:1"}

// TestCurlShowsRefusal runs the printed command line.
func TestCurlShowsRefusal(t *testing.T) {
	for _, e := range []*Engine{&elasticsearch, &opensearch, &clickhouseHTTP} {
		t.Run(e.Protocol, func(t *testing.T) {
			at := refusing(t, e, true, Refusal{Text: advice, Login: true})
			c := e.Clients[len(e.Clients)-1] // which is curl
			code, out := ran(t, elsewhere, append([]string{c.Program}, c.Args(at)...)...)
			if code != 22 || // HTTP says no
				!strings.Contains(strings.ReplaceAll(out, `\"`, `"`), advice) {
				t.Errorf("exit code %d, %s", code, out)
			}
		})
	}
}

// TestAWSShowsRefusal: the sentence, and not after a series of attempts.
func TestAWSShowsRefusal(t *testing.T) {
	for name, login := range map[string]bool{"login": true, "network": false} {
		t.Run(name, func(t *testing.T) {
			calls := make(chan struct{}, 100)
			counted := dynamodb
			counted.Refuse = func(c net.Conn, r Refusal) error { calls <- struct{}{}; return dynamodb.Refuse(c, r) }
			at := refusing(t, &counted, true, Refusal{Text: advice, Login: login})
			code, out := ran(t, append(dynamodb.Clients[0].Env(at), elsewhere...), append(dynamodb.Command(at), "list-tables")...)
			if code == 0 || !strings.Contains(out, advice) || len(calls) != 1 {
				t.Errorf("exit code %d after %d calls, %s", code, len(calls), out)
			}
		})
	}
}

func FuzzHTTPRefuse(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello"))
	f.Add([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	f.Add([]byte{22, 3, 1, 0, 5})
	shapes := []httpShape{strayHTTP, elasticShape, dynamoShape, snowflakeShape, clickhouseShape}
	f.Fuzz(func(t *testing.T, first []byte) {
		for _, shape := range shapes {
			refuse := func(c net.Conn, r Refusal) error { return refuseHTTP(c, r, shape) }
			answer, err := refusedBytes(t, refuse, Refusal{Text: advice}, first)
			if (err == nil) != (len(answer) > 0) {
				t.Fatalf("answer %q, error %v", answer, err)
			}
			if err != nil || answer[0] == 21 { // an alert
				continue
			}
			resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
	})
}
