package cloudproxy

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// otherSigner is a request as some signer has it: what is on the wire, and what it
// has signed.
type otherSigner struct {
	name, service, method string
	wirePath, wireQuery   string
	path, query           string
	headers               []string // "name:value" on the wire, host, date and hash apart
	canonical             []string // the same as it is signed, in order; nil is what is on the wire
	want                  string
}

// raw is the request as text, with its signature.
func (o otherSigner) raw() string {
	const host = "x.eu-west-1.amazonaws.com"
	at := testNow.Format(sigV4Time)
	if o.canonical == nil {
		o.canonical = o.headers
	}
	lines := append([]string{"host:" + host}, o.canonical...)
	lines = append(lines, "x-amz-content-sha256:"+emptySHA256, "x-amz-date:"+at)
	var names []string
	for _, line := range lines {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, name)
	}
	signed := strings.Join(names, ";")
	sum := sha256.Sum256([]byte(strings.Join([]string{o.method, o.path, o.query, strings.Join(lines, "\n") + "\n", signed, emptySHA256}, "\n")))
	scope := testNow.Format(sigV4Day) + "/eu-west-1/" + o.service + "/aws4_request"
	key := []byte("AWS4" + testKeys.Secret)
	for _, word := range strings.Split(scope, "/") {
		key = hmacSHA256(key, word)
	}
	value := hmacSHA256(key, strings.Join([]string{sigV4Algorithm, at, scope, fmt.Sprintf("%x", sum)}, "\n"))
	target := o.wirePath
	if o.wireQuery != "" {
		target += "?" + o.wireQuery
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Amz-Content-Sha256: %s\r\nX-Amz-Date: %s\r\n", o.method, target, host, emptySHA256, at)
	for _, line := range o.headers {
		name, value, _ := strings.Cut(line, ":")
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	fmt.Fprintf(&b, "Authorization: %s Credential=%s/%s, SignedHeaders=%s, Signature=%x\r\n\r\n", sigV4Algorithm, testKeys.ID, scope, signed, value)
	return b.String()
}

// No request is refused that a program signs as AWS has it, or as its signer puts
// on the wire what it was given: there are more signers than that of Go's SDK.
func TestOtherSigners(t *testing.T) {
	for _, o := range []otherSigner{
		{name: "plain", service: "s3", method: "GET", wirePath: "/k", path: "/k"},
		// S3, where the path is signed in one form, however it was sent.
		{name: "unescaped path", service: "s3", method: "GET", wirePath: "/a(b)'c", path: "/a%28b%29%27c"},
		{name: "unescaped path, signed so", service: "s3", method: "GET", wirePath: "/a(b)", path: "/a(b)"},
		{name: "lower case escapes", service: "s3", method: "GET", wirePath: "/%c3%a4", path: "/%C3%A4"},
		{name: "dots and slashes", service: "s3", method: "GET", wirePath: "/a//./b/../c", path: "/a//./b/../c"},
		{name: "directory bucket", service: "s3express", method: "GET", wirePath: "/a%20b", path: "/a%20b"},
		{name: "object lambda", service: "s3-object-lambda", method: "GET", wirePath: "/a%20b", path: "/a%20b"},
		// Services that are only named like it.
		{name: "s3tables", service: "s3tables", method: "GET", wirePath: "/buckets/arn%3Aaws%3As3tables", path: "/buckets/arn%253Aaws%253As3tables"},
		{name: "s3vectors", service: "s3vectors", method: "GET", wirePath: "/a%2Fb", path: "/a%252Fb"},
		{name: "s3files", service: "s3files", method: "GET", wirePath: "/a%20b", path: "/a%2520b"},
		// All others have it escaped again, and without dots and doubled slashes.
		{name: "lambda", service: "lambda", method: "GET", wirePath: "/f/arn%3Aaws", path: "/f/arn%253Aaws"},
		{name: "cleaned", service: "es", method: "GET", wirePath: "/a//b/./c/../d/", path: "/a/b/d/"},
		{name: "not cleaned", service: "es", method: "GET", wirePath: "/a//b", path: "/a//b"},
		{name: "root", service: "es", method: "GET", wirePath: "//", path: "/"},
		// Queries.
		{name: "order of the escaped", service: "eks", method: "DELETE", wirePath: "/", path: "/", wireQuery: "k=a-b&k=a%2Fb", query: "k=a%2Fb&k=a-b"},
		{name: "order of names", service: "eks", method: "DELETE", wirePath: "/", path: "/", wireQuery: "a1=2&a%5B0%5D=1", query: "a%5B0%5D=1&a1=2"},
		{name: "no value", service: "s3", method: "GET", wirePath: "/", path: "/", wireQuery: "acl", query: "acl="},
		{name: "space as plus", service: "es", method: "GET", wirePath: "/", path: "/", wireQuery: "q=a+b", query: "q=a%20b"},
		{name: "space as plus, signed so", service: "es", method: "GET", wirePath: "/", path: "/", wireQuery: "q=a+b", query: "q=a+b"},
		{name: "unescaped, signed so", service: "es", method: "GET", wirePath: "/", path: "/", wireQuery: "q=a:b,c&a=(d)", query: "a=(d)&q=a:b,c"},
		{name: "unescaped", service: "es", method: "GET", wirePath: "/", path: "/", wireQuery: "q=a:b,c", query: "q=a%3Ab%2Cc"},
		{name: "unicode", service: "es", method: "GET", wirePath: "/", path: "/", wireQuery: "%E2%82%AC=~", query: "%E2%82%AC=~"},
		// Headers.
		{name: "no body", service: "s3", method: "PUT", wirePath: "/k", path: "/k", headers: []string{"content-length:0"}},
		{name: "no body, another order", service: "s3", method: "PUT", wirePath: "/k", path: "/k", wireQuery: "k=b&k=a+c&acl", query: "acl=&k=a%20c&k=b", headers: []string{"content-length:0"}},
		{name: "chunked, with a tab", service: "s3", method: "PUT", wirePath: "/k", path: "/k", headers: []string{"transfer-encoding:chunked", "x-a:b\tc"}, canonical: []string{"transfer-encoding:chunked", "x-a:b c"}},
		{name: "spaces", service: "s3", method: "PUT", wirePath: "/k", path: "/k", headers: []string{"x-a:  b   c "}, canonical: []string{"x-a:b c"}},
		{name: "tab", service: "s3", method: "PUT", wirePath: "/k", path: "/k", headers: []string{"x-a:b\tc"}, canonical: []string{"x-a:b c"}},
		{name: "twice", service: "s3", method: "PUT", wirePath: "/k", path: "/k", headers: []string{"x-a:b", "x-a:c"}, canonical: []string{"x-a:b,c"}},
		{name: "empty", service: "s3", method: "PUT", wirePath: "/k", path: "/k", headers: []string{"x-a:"}},

		{name: "another path", service: "s3", method: "GET", wirePath: "/l", path: "/k", want: "SignatureDoesNotMatch"},
		{name: "path escaped once", service: "lambda", method: "GET", wirePath: "/a%20b", path: "/a%20b", want: "SignatureDoesNotMatch"},
		{name: "path escaped twice", service: "s3", method: "GET", wirePath: "/a%20b", path: "/a%2520b", want: "SignatureDoesNotMatch"},
		{name: "query left out", service: "es", method: "GET", wirePath: "/", path: "/", wireQuery: "a=1&b=2", query: "a=1", want: "SignatureDoesNotMatch"},
		{name: "another length", service: "s3", method: "PUT", wirePath: "/k", path: "/k", headers: []string{"content-length:0"}, canonical: []string{"content-length:1"}, want: "SignatureDoesNotMatch"},
	} {
		t.Run(o.name, func(t *testing.T) {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(o.raw())))
			if err != nil {
				t.Fatal(err)
			}
			c, err := newTestAWS().Check(r)
			if got := codeOf(err); got != o.want {
				t.Fatalf("got %q (%v), want %q", got, err, o.want)
			}
			// The agent signs the path of S3 as it gets it.
			if o.service == "s3" && o.name == "unescaped path" && c.Request.URL.EscapedPath() != o.path {
				t.Errorf("goes on as %s", c.Request.URL.EscapedPath())
			}
		})
	}
}

// What a body was read for is not taken from what is signed.
func TestHashedExpect(t *testing.T) {
	const body = "Action=x"
	at := testNow.Format(sigV4Time)
	scope := testNow.Format(sigV4Day) + "/us-east-1/sts/aws4_request"
	canonical := "POST\n/\n\nexpect:100-continue\nhost:sts.amazonaws.com\ntransfer-encoding:chunked\nx-amz-date:" + at +
		"\n\nexpect;host;transfer-encoding;x-amz-date\n" + hashOf(body)
	s := &signature{At: testNow, Region: "us-east-1", Service: "sts"}
	value := hmacSHA256(signingKey(s, credentials{secret: testKeys.Secret}), strings.Join([]string{sigV4Algorithm, at, scope, hashOf(canonical)}, "\n"))
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: sts.amazonaws.com\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\nX-Amz-Date: " + at +
		"\r\nAuthorization: " + fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=expect;host;transfer-encoding;x-amz-date, Signature=%x", sigV4Algorithm, testKeys.ID, scope, value) +
		"\r\n\r\n8\r\n" + body + "\r\n0\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := newTestAWS().Check(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(c.Request.Body); string(got) != body {
		t.Errorf("%q goes on", got)
	}
}

// The SDK goes by the clock of AWS from its first answer on, which may be another
// than that of this machine.
func TestClockOfAWS(t *testing.T) {
	refused := make(chan error, 10)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		io.WriteString(rw, "<ListAllMyBucketsResult/>")
	}, func(w *world) { w.o.Report = func(err error) { refused <- err } })
	client := s3.NewFromConfig(w.sdk(testKeys))
	for range 3 {
		if _, err := client.ListBuckets(t.Context(), &s3.ListBucketsInput{}); err != nil {
			t.Error(err)
		}
	}
	if len(refused) > 0 {
		t.Errorf("refused: %v", <-refused)
	}
}

// A session of S3 Express has keys of its own, which no agent could use.
func TestExpressSession(t *testing.T) {
	w := newWorld(t, unused, nil)
	r := request(t, "GET", "https://b--x-s3.s3express-use1-az4.us-east-1.amazonaws.com/k", "", "X-Amz-S3session-Token", "t")
	signing{keys: Keys{"ASIAEXPRESS", "x"}, service: "s3express"}.sign(t, r, "")
	if code, body := w.do(r); code != 403 || !strings.Contains(body, "InvalidAccessKeyId") || !strings.Contains(body, "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH=true") {
		t.Errorf("%d %s", code, body)
	}
}

// The agent's own errors are reports for its developers, of which users see what is
// for them; its remarks leave AWS's answers as they are.
func TestWordsOfTheAgent(t *testing.T) {
	for _, tt := range []struct {
		name        string
		answer      func(rw http.ResponseWriter)
		code, text  string
		notMentions string
	}{
		{"report", func(rw http.ResponseWriter) {
			rw.Header().Set(headerAPIError, "\nERROR REPORT:\nOriginal Error: *trace.AccessDeniedError short\nStack Trace:\n\tgithub.com/x/y.go:12 f\nUser Message: minimum AWS session duration is 15m0s")
			http.Error(rw, "Forbidden", http.StatusForbidden)
		}, "AccessDenied", "403: minimum AWS session duration is 15m0s", "Stack"},
		{"remark", func(rw http.ResponseWriter) {
			rw.Header().Set(headerAPIInfo, "requested DurationSeconds of AssumeRole is lowered")
			rw.Header().Set("X-Amz-Request-Id", "1")
			rw.WriteHeader(400)
			io.WriteString(rw, "<Error><Code>NoSuchThing</Code><Message>of AWS itself</Message></Error>")
		}, "NoSuchThing", "of AWS itself", "lowered"},
		{"unknown session", func(rw http.ResponseWriter) {
			http.Error(rw, http.StatusText(http.StatusForbidden), http.StatusForbidden)
		}, "AccessDenied", "wants a new login", ""},
		{"of AWS itself", func(rw http.ResponseWriter) {
			rw.Header().Set("X-Amz-Request-Id", "1")
			http.Error(rw, http.StatusText(http.StatusForbidden), http.StatusForbidden)
		}, "Forbidden", "", "access proxy"},
		{"agent down", func(rw http.ResponseWriter) {
			http.Error(rw, http.StatusText(http.StatusBadGateway), http.StatusBadGateway)
		}, "BadGateway", "answered 502 (Bad Gateway)", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) { tt.answer(rw) }, nil)
			_, err := s3.NewFromConfig(w.sdk(testKeys)).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("b")})
			if err == nil || !strings.Contains(err.Error(), tt.code) || !strings.Contains(err.Error(), tt.text) ||
				tt.notMentions != "" && strings.Contains(err.Error(), tt.notMentions) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A presigned URL for an object without a body, of which the length is signed.
func TestPresignedNoBody(t *testing.T) {
	at := testNow.Format(sigV4Time)
	scope := testNow.Format(sigV4Day) + "/eu-west-1/s3/aws4_request"
	query := "X-Amz-Algorithm=" + sigV4Algorithm + "&X-Amz-Credential=" + testKeys.ID + strings.ReplaceAll("/"+scope, "/", "%2F") +
		"&X-Amz-Date=" + at + "&X-Amz-Expires=60&X-Amz-SignedHeaders=content-length%3Bhost"
	canonical := "PUT\n/k\n" + query + "\ncontent-length:0\nhost:x.s3.eu-west-1.amazonaws.com\n\ncontent-length;host\n" + payloadUnsigned
	s := &signature{At: testNow, Region: "eu-west-1", Service: "s3"}
	value := hmacSHA256(signingKey(s, credentials{secret: testKeys.Secret}), strings.Join([]string{sigV4Algorithm, at, scope, hashOf(canonical)}, "\n"))
	for add, want := range map[string]string{"": "", "&acl=": "SignatureDoesNotMatch"} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(fmt.Sprintf(
			"PUT /k?%s&X-Amz-Signature=%x%s HTTP/1.1\r\nHost: x.s3.eu-west-1.amazonaws.com\r\nContent-Length: 0\r\n\r\n", query, value, add))))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newTestAWS().Check(r); codeOf(err) != want {
			t.Errorf("%q: %v", add, err)
		}
	}
}

// Who has to do something about a refusal is told what.
func TestRefusedHints(t *testing.T) {
	for e, want := range map[*RefusedError]string{
		{Status: http.StatusFound}:                              "tsh apps login",
		{Status: http.StatusForbidden}:                          "tsh apps login",
		{Status: http.StatusForbidden, Reason: "no such role"}:  "tsh apps login",
		{Status: http.StatusBadGateway}:                         "agent may be down",
		{Status: http.StatusBadGateway, Reason: "it says more"}: "",
	} {
		if got := e.Hint(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%v: %q", e, got)
		}
	}
}
