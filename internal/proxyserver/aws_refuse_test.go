package proxyserver

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
)

func TestAWSHost(t *testing.T) {
	for host, want := range map[string]bool{
		"amazonaws.com": true, "s3.amazonaws.com": true, "b.s3.eu-west-1.amazonaws.com": true, "S3.AmazonAWS.com": true,
		"a_b.s3.amazonaws.com": true, "ec2.cn-north-1.amazonaws.com.cn": true, "dynamodb.us-east-1.api.aws": true,
		"transcribestreaming.eu-west-1.amazonaws.com:8443": true,
		"s3.eusc-de-east-1.amazonaws.eu":                   true, "ec2.cn-north-1.api.amazonwebservices.com.cn": true,
		"": false, "localhost": false, "127.0.0.1": false, "xamazonaws.com": false, "amazonaws.com.evil.example": false,
		"evil.example/.amazonaws.com": false, "evil.example#.amazonaws.com": false, "a@s3.amazonaws.com": false,
		"evil.example:80.amazonaws.com": false, "amazonaws.com.": false, "s3.amazonaws.com:": false, "s3.amazonaws.com:80:80": false,
		"aws": false, "s3.amazonaws.com\r\nX: y": false, "s3.amazonaws.com:443/x": false,
	} {
		if got := isAWSHost(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}

// What cannot be served is refused in the form that the client reads.
func TestAWSRefuses(t *testing.T) {
	s3 := testCall{uri: "/key", host: "s3.amazonaws.com", service: "s3"}
	json := testCall{method: "POST", uri: "/", host: "dynamodb.us-east-1.amazonaws.com", service: "dynamodb", body: "{}",
		header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}}}
	query := testCall{method: "POST", uri: "/", host: "sts.amazonaws.com", service: "sts", body: "Action=GetCallerIdentity",
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
	ec2 := testCall{method: "POST", uri: "/", host: "ec2.us-east-1.amazonaws.com", service: "ec2", body: "Action=X",
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
	large := json
	large.body = strings.Repeat("x", awsBodyMax+1)
	for _, tt := range []struct {
		name   string
		call   testCall
		edit   func(*http.Request)
		noRole bool
		up     string // endpoint that is down
		status int
		says   []string
	}{
		{name: "no role", call: s3, noRole: true, status: 403, says: []string{"<Error><Code>AccessDenied</Code><Message>", "names no AWS role"}},
		{name: "not signed", call: s3, edit: func(r *http.Request) { r.Header.Del("Authorization") }, status: 403,
			says: []string{"<Error><Code>IncompleteSignature</Code>", "not signed"}},
		{name: "signed with ECDSA", call: s3, status: 403, says: []string{"AWS4-HMAC-SHA256"}, edit: func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-ECDSA-P256-SHA256 Credential=a/20260101/s3/aws4_request, SignedHeaders=host, Signature=00")
		}},
		{name: "no host", call: s3, edit: func(r *http.Request) { r.Header.Del("X-Forwarded-Host") }, status: 400, says: []string{"X-Forwarded-Host names no AWS host"}},
		{name: "two hosts", call: s3, edit: func(r *http.Request) { r.Header.Add("X-Forwarded-Host", "ec2.amazonaws.com") }, status: 400},
		{name: "foreign host", call: s3, edit: func(r *http.Request) { r.Header.Set("X-Forwarded-Host", "169.254.169.254") }, status: 400},
		{name: "query", call: s3, edit: func(r *http.Request) { r.URL.RawQuery = "a=%zz" }, status: 400, says: []string{"<Code>InvalidRequest</Code>"}},
		{name: "large", call: large, status: 413, says: []string{`"RequestEntityTooLarge"`}},
		{name: "down s3", call: s3, up: "http://127.0.0.1:1", status: 502, says: []string{"<Error><Code>BadGateway</Code>", "refused"}},
		{name: "down json", call: json, up: "http://127.0.0.1:1", status: 502, says: []string{`{"__type":"BadGateway","message":"`, "refused"}},
		{name: "down query", call: query, up: "http://127.0.0.1:1", status: 502, says: []string{"<ErrorResponse><Error><Type>Sender</Type><Code>BadGateway</Code>"}},
		{name: "down ec2", call: ec2, up: "http://127.0.0.1:1", status: 502, says: []string{"<Response><Errors><Error><Code>BadGateway</Code>"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := startFakeAWS(t, awsReal)
			if tt.up == "" {
				tt.up = up.URL
			}
			f := awsApp(t, tt.up)
			id := awsRoute()
			if tt.noRole {
				id.App.AWSRoleARN = ""
			}
			r := tt.call.request(t, f.addr, awsThrowAway)
			if tt.edit != nil {
				tt.edit(r)
			}
			resp, text := do(t, f.client(newUser(t).tls(id), "http/1.1"), r)
			if resp.StatusCode != tt.status || len(up.seen) > 0 {
				t.Errorf("%s, and %d requests came through: %s", resp.Status, len(up.seen), text)
			}
			for _, s := range tt.says {
				if !strings.Contains(text, s) {
					t.Errorf("%q is not in %q", s, text)
				}
			}
			if strings.Contains(text, awsReal.AccessKeyID) || strings.Contains(text, awsReal.SecretAccessKey) {
				t.Errorf("keys in %q", text)
			}
		})
	}
}

// Of connections that were kept and have ended in the meantime clients see
// nothing, and what writes is made once.
func TestAWSBrokenIdle(t *testing.T) {
	var used sync.Map
	var hungUp atomic.Bool
	var writes atomic.Int64
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" {
			writes.Add(1)
		}
		if _, again := used.LoadOrStore(r.RemoteAddr, true); again {
			hungUp.Store(true)
			panic(http.ErrAbortHandler)
		}
		io.Copy(w, r.Body)
	}))
	t.Cleanup(up.Close)
	f := awsApp(t, up.URL)
	c := f.client(newUser(t).tls(awsRoute()), "http/1.1")
	made := 0
	for _, method := range []string{"GET", "GET", "POST", "POST", "PUT", "GET", "DELETE", "GET"} {
		call := testCall{method: method, uri: "/", host: "dynamodb.us-east-1.amazonaws.com", service: "dynamodb"}
		if method != "GET" {
			call.body = "x"
			made++
		}
		if resp, text := do(t, c, call.request(t, f.addr, awsThrowAway)); resp.StatusCode != 200 || text != call.body {
			t.Errorf("%s: %s: %q", method, resp.Status, text)
		}
	}
	if n := int(writes.Load()); n != made || !hungUp.Load() {
		t.Errorf("%d writes arrived of %d; hung up: %v", n, made, hungUp.Load())
	}
}

// An answer that breaks off does not look like one that is complete.
func TestAWSTorn(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(up.Close)
	f := awsApp(t, up.URL)
	r := testCall{uri: "/key", host: "s3.amazonaws.com", service: "s3"}.request(t, f.addr, awsThrowAway)
	resp, err := f.client(newUser(t).tls(awsRoute()), "http/1.1").Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "half" {
		t.Errorf("%q, %v", b, err)
	}
}

// A WebSocket is signed by its request, and then carries what it likes.
func TestAWSWebSocket(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := checkSigned(r, nil, awsReal); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		c, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		if kind, m, err := c.ReadMessage(); err == nil {
			c.WriteMessage(kind, m)
		}
	}))
	t.Cleanup(up.Close)
	f := awsApp(t, up.URL)
	r := testCall{uri: "/stream?language=en", host: "transcribestreaming.eu-west-1.amazonaws.com:8443", service: "transcribe"}.request(t, f.addr, awsThrowAway)
	d := websocket.Dialer{TLSClientConfig: config(testAuthority().Web.Pool(), newUser(t).tls(awsRoute()), "http/1.1")}
	r.URL.Scheme = "wss"
	r.Header.Set("Host", r.Host) // as gorilla wants it
	c, resp, err := d.DialContext(t.Context(), r.URL.String(), r.Header)
	if err != nil {
		if resp != nil {
			b, _ := io.ReadAll(resp.Body)
			t.Fatalf("%v: %s", err, b)
		}
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, m, err := c.ReadMessage(); err != nil || string(m) != "hello" {
		t.Errorf("%q, %v", m, err)
	}
}

func FuzzAWSSignature(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/20260101/us-east-1/s3/aws4_request,SignedHeaders=Host,Signature=0")
	f.Add("AWS4-HMAC-SHA256 Credential=////,SignedHeaders=;,Signature==")
	f.Fuzz(func(t *testing.T, auth string) {
		s, err := parseAWSSignature(auth)
		if err == nil && (s.region == "" || s.service == "" || len(s.headers) == 0) {
			t.Errorf("%q: %+v", auth, s)
		}
	})
}
