package proxyserver

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"tshx/internal/identity"
)

// The keys of an account, and those that clients sign with.
var (
	awsReal      = aws.Credentials{AccessKeyID: "AKIAREAL", SecretAccessKey: "real secret"}
	awsThrowAway = aws.Credentials{AccessKeyID: "AKIATHROWAWAY", SecretAccessKey: "throw-away secret"}
)

const testRole = "arn:aws:iam::111122223333:role/reader"

// awsRoute is the certificate's route to the app "aws".
func awsRoute() identity.Identity {
	id := appRoute("aws")
	id.App.AWSRoleARN = testRole
	return id
}

// fakeAWS is a server in Amazon's place, which accepts what has been signed with
// keys.
type fakeAWS struct {
	*httptest.Server
	keys   aws.Credentials
	mu     sync.Mutex
	seen   []*http.Request
	bodies []string
}

func startFakeAWS(t testing.TB, keys aws.Credentials) *fakeAWS {
	t.Helper()
	f := &fakeAWS{keys: keys}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = checkSigned(r, body, f.keys)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, f.bodies = append(f.seen, r), append(f.bodies, string(body))
	fmt.Fprint(w, "signed right")
}

// checkSigned signs a request again, by what it says of itself. It takes no part
// of the code under test.
func checkSigned(r *http.Request, body []byte, keys aws.Credentials) error {
	given := r.Header.Get("Authorization")
	var scope, signed string
	if _, err := fmt.Sscanf(strings.ReplaceAll(given, ",", " "), "AWS4-HMAC-SHA256 Credential="+keys.AccessKeyID+"/%s SignedHeaders=%s", &scope, &signed); err != nil {
		return fmt.Errorf("%q: %w", given, err)
	}
	part := strings.Split(scope, "/") // date/region/service/aws4_request
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	again := &http.Request{Method: r.Method, Host: r.Host, Header: make(http.Header), ContentLength: r.ContentLength}
	if again.URL, err = url.ParseRequestURI(r.RequestURI); err != nil {
		return err
	}
	for name, values := range r.Header {
		if slices.Contains(strings.Split(signed, ";"), strings.ToLower(name)) {
			again.Header[name] = slices.Clone(values)
		}
	}
	sum := sha256.Sum256(body)
	hash := cmp.Or(r.Header.Get("X-Amz-Content-Sha256"), hex.EncodeToString(sum[:]))
	if len(hash) == 64 && hash != hex.EncodeToString(sum[:]) {
		return errors.New("the body is not that of the hash")
	}
	err = v4.NewSigner().SignHTTP(r.Context(), keys, again, hash, part[2], part[1], at,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = part[2] == "s3" })
	if want := again.Header.Get("Authorization"); err == nil && want != given {
		return fmt.Errorf("signed %q, want %q", given, want)
	}
	return err
}

// awsApp is a proxy with the app "aws", of which all requests go to one server.
func awsApp(t testing.TB, endpoint string) *fixture {
	t.Helper()
	return start(t, Options{Apps: []App{{Name: "aws", URI: "https://console.aws.amazon.com", AWS: &AWS{
		AccessKeyID: awsReal.AccessKeyID, SecretAccessKey: awsReal.SecretAccessKey, Endpoints: map[string]string{"": endpoint},
	}}}})
}

// testCall is a request as the client half sends it.
type testCall struct {
	method, uri, body string // uri without a host
	host              string // of AWS
	service           string
	hash              string // of the body: declared
	header            http.Header
	unsigned          http.Header // further headers that are not signed
}

// request signs with keys, and names the AWS host as the client half does.
func (c testCall) request(t testing.TB, proxy string, keys aws.Credentials) *http.Request {
	t.Helper()
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
	}
	r, err := http.NewRequestWithContext(t.Context(), cmp.Or(c.method, "GET"), "https://"+c.host+c.uri, body)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range c.header {
		r.Header[name] = slices.Clone(values)
	}
	hash := c.hash
	if hash != "" {
		r.Header.Set("X-Amz-Content-Sha256", hash)
	} else {
		sum := sha256.Sum256([]byte(c.body))
		hash = hex.EncodeToString(sum[:])
	}
	err = v4.NewSigner().SignHTTP(t.Context(), keys, r, hash, c.service, "eu-west-1", time.Now(),
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = c.service == "s3" })
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range c.unsigned {
		r.Header[name] = slices.Clone(values)
	}
	r.Header.Set("X-Forwarded-Host", c.host)
	r.Host, r.URL.Host = c.host, proxy
	return r
}

func do(t testing.TB, c *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// Each request arrives signed with the real keys, for the same host, service,
// region, path, query and body, and with the headers that were signed.
func TestAWSSignsAnew(t *testing.T) {
	s3 := func(uri string) testCall {
		return testCall{host: "b.s3.eu-west-1.amazonaws.com", service: "s3", uri: uri}
	}
	with := func(c testCall, edit func(*testCall)) testCall { edit(&c); return c }
	sum := sha256.Sum256([]byte("content"))
	for name, tt := range map[string]struct {
		call testCall
		path string // decoded, if it is another than the call's
	}{
		"s3 get":           {call: s3("/key")},
		"s3 list":          {call: s3("/?list-type=2&prefix=a%20b%2Fc%2B&encoding-type=url")},
		"s3 flag in query": {call: s3("/key?uploads")},
		"s3 hard key":      {call: s3("/a%20b/%C3%BC%2B%25//..%2F.%7E*'()!$&,;=:@")},
		"s3 put":           {call: with(s3("/key"), func(c *testCall) { c.method, c.body, c.hash = "PUT", "content", hex.EncodeToString(sum[:]) })},
		"s3 put unsigned":  {call: with(s3("/key"), func(c *testCall) { c.method, c.body, c.hash = "PUT", "content", "UNSIGNED-PAYLOAD" })},
		"s3 put undeclared": {call: with(s3("/key"), func(c *testCall) {
			c.method, c.body = "PUT", "content"
		})},
		"s3 delete":  {call: with(s3("/key"), func(c *testCall) { c.method = "DELETE" })},
		"s3 headers": {call: with(s3("/key"), func(c *testCall) { c.header = http.Header{"Range": {"bytes=0-1"}, "X-Amz-Acl": {"a", "b  c"}} })},
		"query api": {call: testCall{method: "POST", uri: "/", host: "ec2.eu-west-1.amazonaws.com", service: "ec2", body: "Action=DescribeInstances&Version=1",
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}}},
		"json api": {call: testCall{method: "POST", uri: "/", host: "dynamodb.eu-west-1.api.aws", service: "dynamodb", body: `{"TableName":"t"}`,
			header: http.Header{"X-Amz-Target": {"DynamoDB_20120810.Query"}, "Content-Type": {"application/x-amz-json-1.0"}}}},
		"rest with escaped path": {call: testCall{uri: "/2015-03-31/functions/arn%3Aaws%3Alambda/invocations", host: "lambda.cn-north-1.amazonaws.com.cn", service: "lambda"}},
		"named after s3":         {call: testCall{uri: "/buckets/arn%3Aaws%3As3tables", host: "s3tables.eu-west-1.amazonaws.com", service: "s3tables"}},
		"another port":           {call: testCall{uri: "/x", host: "transcribestreaming.eu-west-1.amazonaws.com:8443", service: "transcribe"}},
	} {
		t.Run(name, func(t *testing.T) {
			up := startFakeAWS(t, awsReal)
			f := awsApp(t, up.URL)
			c := tt.call
			c.unsigned = http.Header{"X-Stray": {"1"}, "X-Teleport-Stray": {"2"}, "Cookie": {"c=d"}, "User-Agent": {"browser"}}
			r := c.request(t, f.addr, awsThrowAway)
			signed := parsed(t, r).headers
			resp, text := do(t, f.client(newUser(t).tls(awsRoute()), "http/1.1"), r)
			if resp.StatusCode != 200 || text != "signed right" {
				t.Fatalf("%s: %s", resp.Status, text)
			}
			got := up.seen[0]
			u, err := url.ParseRequestURI(c.uri)
			if err != nil {
				t.Fatal(err)
			}
			if got.Host != c.host || got.URL.Path != u.Path || got.URL.Query().Encode() != u.Query().Encode() || up.bodies[0] != c.body {
				t.Errorf("got %s %q with %q", got.Host, got.RequestURI, up.bodies[0])
			}
			if path, _, _ := strings.Cut(got.RequestURI, "?"); c.service == "s3" && strings.ContainsAny(path, "*'()!$&,;=:@+") {
				t.Errorf("the path is not in the form that S3 signs: %s", path)
			}
			if sig := parsed(t, got); sig.region != "eu-west-1" || sig.service != c.service {
				t.Errorf("signed for %+v", sig)
			}
			for name := range got.Header {
				lower := strings.ToLower(name)
				// The signature is another, so that what belongs to it may be as well.
				if !slices.Contains(signed, lower) && !slices.Contains([]string{"authorization", "x-amz-date", "x-amz-content-sha256", "content-length", "connection"}, lower) {
					t.Errorf("header %s was not signed", name)
				}
			}
			for name, values := range c.header {
				if !slices.Equal(got.Header[name], values) && name != "X-Amz-Acl" { // whose spaces the signer folds
					t.Errorf("%s: %q, want %q", name, got.Header[name], values)
				}
			}
		})
	}
}

func parsed(t testing.TB, r *http.Request) awsSignature {
	t.Helper()
	s, err := parseAWSSignature(r.Header.Get("Authorization"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A body whose hash is declared is not kept: the other side has its first half
// before the second is there.
func TestAWSStreams(t *testing.T) {
	first := make(chan string, 1)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 5)
		io.ReadFull(r.Body, b)
		first <- string(b)
		rest, _ := io.ReadAll(r.Body)
		w.Write(append(b, rest...))
	}))
	t.Cleanup(up.Close)
	f := awsApp(t, up.URL)
	r := testCall{method: "PUT", uri: "/key", host: "s3.amazonaws.com", service: "s3", hash: "UNSIGNED-PAYLOAD"}.request(t, f.addr, awsThrowAway)
	pr, pw := io.Pipe()
	r.Body, r.ContentLength = pr, 10
	go func() {
		io.WriteString(pw, "first")
		if got := <-first; got != "first" {
			pw.CloseWithError(fmt.Errorf("got %q", got))
			return
		}
		io.WriteString(pw, "after")
		pw.Close()
	}()
	if resp, text := do(t, f.client(newUser(t).tls(awsRoute()), "http/1.1"), r); text != "firstafter" {
		t.Errorf("%s: %q", resp.Status, text)
	}
}

// Requests of temporary keys are the client's own: they go as they came.
func TestAWSAssumedRole(t *testing.T) {
	keys := aws.Credentials{AccessKeyID: "ASIATEMPORARY", SecretAccessKey: "temporary secret", SessionToken: "token/+="}
	up := startFakeAWS(t, keys)
	f := awsApp(t, up.URL)
	client := f.client(newUser(t).tls(awsRoute()), "http/1.1")
	call := testCall{method: "PUT", uri: "/a%2Bb+c?x=1&uploads", host: "s3.eu-west-1.amazonaws.com", service: "s3", body: "content", hash: "UNSIGNED-PAYLOAD"}
	assumed := func() *http.Request {
		r := call.request(t, f.addr, keys)
		r.Header.Set(headerAssumedAuth, r.Header.Get("Authorization"))
		r.Header.Del("Authorization")
		r.Header.Set(headerAssumedRole, "arn:aws:sts::111122223333:assumed-role/other/session")
		return r
	}
	resp, text := do(t, client, assumed())
	if resp.StatusCode != 200 || text != "signed right" {
		t.Fatalf("%s: %s", resp.Status, text)
	}
	if got := up.seen[0]; got.Header.Get("X-Amz-Security-Token") != keys.SessionToken || got.Header.Get(headerAssumedRole) != "" || got.Header.Get(headerAssumedAuth) != "" {
		t.Errorf("headers %v", got.Header)
	}
	r := assumed()
	r.Host = "localhost"
	if resp, text := do(t, client, r); resp.StatusCode != 400 || !strings.Contains(text, "InvalidRequest") {
		t.Errorf("another host: %s: %s", resp.Status, text)
	}
	r = assumed()
	r.Header.Del(headerAssumedAuth)
	if resp, text := do(t, client, r); resp.StatusCode != 403 {
		t.Errorf("no authorization: %s: %s", resp.Status, text)
	}
}

// Keys of a role do not outlive the certificate that they were asked for with.
func TestAWSLimitsSession(t *testing.T) {
	u := newUser(t)
	for _, tt := range []struct {
		name, form string
		left       time.Duration
		want       int // seconds at most, and a few less; 0: none
		status     int
	}{
		{"shorter", "Action=AssumeRole&DurationSeconds=900", time.Hour, 900, 200},
		{"longer", "Action=AssumeRole&DurationSeconds=43200&RoleArn=a", 2 * time.Hour, 7200, 200},
		{"default", "Action=AssumeRole", 30 * time.Minute, 1800, 200},
		{"default fits", "Action=AssumeRole", 2 * time.Hour, 0, 200},
		{"other action", "Action=GetCallerIdentity&DurationSeconds=43200", time.Minute, 43200, 200},
		{"too short", "Action=AssumeRole", 14 * time.Minute, 0, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := startFakeAWS(t, awsReal)
			f := awsApp(t, up.URL)
			req := u.request(awsRoute())
			req.NotAfter = time.Now().Add(tt.left).Truncate(time.Second)
			der, err := testAuthority().IssueTLS(req)
			if err != nil {
				t.Fatal(err)
			}
			cert := u.tls(awsRoute())
			cert.Certificate = [][]byte{der}
			resp, text := do(t, f.client(cert, "http/1.1"), testCall{method: "POST", uri: "/", host: "sts.amazonaws.com", service: "sts", body: tt.form,
				header: http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}}.request(t, f.addr, awsThrowAway))
			if resp.StatusCode != tt.status {
				t.Fatalf("%s: %s", resp.Status, text)
			}
			if tt.status != 200 {
				if !strings.Contains(text, "<Code>AccessDenied</Code>") || len(up.seen) > 0 {
					t.Errorf("said %q; %d requests came through", text, len(up.seen))
				}
				return
			}
			got, _ := url.ParseQuery(up.bodies[0])
			const few = 60
			d, err := strconv.Atoi(cmp.Or(got.Get("DurationSeconds"), "0"))
			if err != nil || d > tt.want || d < tt.want-few {
				t.Errorf("asks AWS for %q s, want %d", got.Get("DurationSeconds"), tt.want)
			}
		})
	}
}

// An account may be of one region, and has an endpoint for each service.
func TestAWSRegion(t *testing.T) {
	up := startFakeAWS(t, awsReal)
	f := start(t, Options{Apps: []App{{Name: "aws", AWS: &AWS{
		AccessKeyID: awsReal.AccessKeyID, SecretAccessKey: awsReal.SecretAccessKey, Region: "us-east-1",
		Endpoints: map[string]string{"s3": up.URL, "": "http://127.0.0.1:1"},
	}}}})
	client := f.client(newUser(t).tls(awsRoute()), "http/1.1")
	if resp, text := do(t, client, testCall{uri: "/", host: "s3.amazonaws.com", service: "s3"}.request(t, f.addr, awsThrowAway)); resp.StatusCode != 200 {
		t.Fatalf("%s: %s", resp.Status, text)
	}
	if got := parsed(t, up.seen[0]); got.region != "us-east-1" {
		t.Errorf("signed for %+v", got)
	}
}

func TestAWSOptions(t *testing.T) {
	for name, o := range map[string]AWS{
		"needs an access key": {SecretAccessKey: "s"},
		"needs an  key":       {AccessKeyID: "a"},
		"no URL":              {AccessKeyID: "a", SecretAccessKey: "s", Endpoints: map[string]string{"s3": "127.0.0.1:1"}},
		"path":                {AccessKeyID: "a", SecretAccessKey: "s", Endpoints: map[string]string{"s3": "http://127.0.0.1:1/path"}},
	} {
		if s, err := New(Options{Authority: testAuthority(), Apps: []App{{Name: "aws", AWS: &o}}}); err == nil || !strings.Contains(err.Error(), `app "aws": aws: `) || strings.Contains(err.Error(), "s3cret") {
			s.Close()
			t.Errorf("%s: error %v", name, err)
		}
	}
}
