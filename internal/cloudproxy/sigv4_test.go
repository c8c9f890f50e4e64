package cloudproxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var (
	testNow  = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	testKeys = Keys{ID: "TSHXTESTKEY234567", Secret: "secret/of+the/test"}
)

func newTestAWS() *AWS {
	return NewAWS(AWSOptions{
		Keys: []Keys{testKeys, {ID: "TSHXOTHER", Secret: "other"}},
		Now:  func() time.Time { return testNow },
	})
}

// received is a request as a server reads it.
func received(t testing.TB, r *http.Request) *http.Request {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	in, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	return in
}

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// signing is how the SDK's signer is asked for.
type signing struct {
	keys            Keys
	service, region string
	payload         string // "" is the body's hash
	at              time.Time
	token           string
}

func (s signing) sign(t testing.TB, r *http.Request, body string) {
	t.Helper()
	if s.service == "" {
		s.service = "s3"
	}
	if s.region == "" {
		s.region = "eu-west-1"
	}
	if s.keys == (Keys{}) {
		s.keys = testKeys
	}
	if s.at.IsZero() {
		s.at = testNow
	}
	if s.payload == "" {
		s.payload = hashOf(body)
	}
	if s.service == "s3" && r.Header.Get(headerSHA256) == "" {
		r.Header.Set(headerSHA256, s.payload)
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s.service == "s3" })
	creds := aws.Credentials{AccessKeyID: s.keys.ID, SecretAccessKey: s.keys.Secret, SessionToken: s.token}
	if err := signer.SignHTTP(t.Context(), creds, r, s.payload, s.service, s.region, s.at); err != nil {
		t.Fatal(err)
	}
}

func request(t testing.TB, method, url, body string, headers ...string) *http.Request {
	t.Helper()
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, url, b)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// codeOf is the code of the error by which a request is refused; empty if it is let
// through.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return err.Error()
}

const bucket = "https://b.s3.eu-west-1.amazonaws.com"

func TestCheckSigned(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request *http.Request
		body    string
		signing signing
		change  func(r *http.Request) // behind the signature
		want    string
	}{
		{"list", request(t, "GET", bucket+"/?list-type=2&prefix=a%2Fb%20c&x", ""), "", signing{}, nil, ""},
		{"odd key", request(t, "GET", bucket+"/a//b/../%E2%82%AC+%20~'()", ""), "", signing{}, nil, ""},
		{"put", request(t, "PUT", bucket+"/k", "hello", "Content-Type", "text/plain", "X-Amz-Meta-A", "two   spaces"), "hello", signing{}, nil, ""},
		{"put, unsigned", request(t, "PUT", bucket+"/k", "hello"), "hello", signing{payload: payloadUnsigned}, nil, ""},
		{"put, unsigned trailer", request(t, "PUT", bucket+"/k", "hello"), "hello", signing{payload: payloadUnsignedTrailer}, nil, ""},
		{"sts", request(t, "POST", "https://sts.amazonaws.com/", "Action=x", "Content-Type", "application/x-www-form-urlencoded"), "Action=x", signing{service: "sts", region: "us-east-1"}, nil, ""},
		{"escaped twice", request(t, "GET", "https://execute-api.eu-west-1.amazonaws.com/a%20b/%C3%A4", ""), "", signing{service: "execute-api"}, nil, ""},
		{"unsigned header added", request(t, "GET", bucket+"/k", ""), "", signing{}, func(r *http.Request) { r.Header.Set("Range", "bytes=0-1") }, ""},
		{"china", request(t, "GET", "https://s3.cn-north-1.amazonaws.com.cn/", ""), "", signing{region: "cn-north-1"}, nil, ""},

		{"unsigned", request(t, "GET", bucket+"/k", ""), "", signing{}, func(r *http.Request) { r.Header.Del("Authorization") }, "MissingAuthenticationToken"},
		{"basic", request(t, "GET", bucket+"/k", ""), "", signing{}, func(r *http.Request) { r.SetBasicAuth("a", "b") }, "MissingAuthenticationToken"},
		{"sigv4a", request(t, "GET", bucket+"/k", ""), "", signing{}, func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), sigV4Algorithm, sigV4aAlgorithm, 1))
		}, "NotImplemented"},
		{"another key", request(t, "GET", bucket+"/k", ""), "", signing{keys: Keys{"AKIAREAL", "x"}}, nil, "InvalidAccessKeyId"},
		{"another secret", request(t, "GET", bucket+"/k", ""), "", signing{keys: Keys{testKeys.ID, "x"}}, nil, "SignatureDoesNotMatch"},
		{"the other app's secret", request(t, "GET", bucket+"/k", ""), "", signing{keys: Keys{testKeys.ID, "other"}}, nil, "SignatureDoesNotMatch"},
		{"other path", request(t, "GET", bucket+"/k", ""), "", signing{}, func(r *http.Request) { r.URL.Path = "/l" }, "SignatureDoesNotMatch"},
		{"other method", request(t, "GET", bucket+"/k", ""), "", signing{}, func(r *http.Request) { r.Method = "DELETE" }, "SignatureDoesNotMatch"},
		{"other query", request(t, "GET", bucket+"/k?a=1", ""), "", signing{}, func(r *http.Request) { r.URL.RawQuery = "a=2" }, "SignatureDoesNotMatch"},
		{"query that cannot be read", request(t, "GET", bucket+"/k?a=1", ""), "", signing{}, func(r *http.Request) { r.URL.RawQuery = "a=1&b;c" }, "IncompleteSignature"},
		{"other host", request(t, "GET", bucket+"/k", ""), "", signing{}, func(r *http.Request) { r.Host = "c.s3.eu-west-1.amazonaws.com" }, "SignatureDoesNotMatch"},
		{"other header", request(t, "GET", bucket+"/k", "", "X-Amz-Acl", "private"), "", signing{}, func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public") }, "SignatureDoesNotMatch"},
		{"header taken away", request(t, "GET", bucket+"/k", "", "X-Amz-Acl", "private"), "", signing{}, func(r *http.Request) { r.Header.Del("X-Amz-Acl") }, "SignatureDoesNotMatch"},
		{"other body", request(t, "POST", "https://sts.amazonaws.com/", "Action=x"), "Action=y", signing{service: "sts"}, nil, "SignatureDoesNotMatch"},
		{"no host of AWS", request(t, "GET", "https://amazonaws.com.example.com/", ""), "", signing{}, nil, "InvalidRequest"},
		{"early, by another clock", request(t, "GET", bucket+"/k", ""), "", signing{at: testNow.Add(-maxSkew - time.Hour)}, nil, ""},
		{"late, by another clock", request(t, "GET", bucket+"/k", ""), "", signing{at: testNow.Add(maxSkew + time.Hour)}, nil, ""},
		{"signed events", request(t, "POST", bucket+"/k", ""), "", signing{payload: "STREAMING-AWS4-HMAC-SHA256-EVENTS"}, nil, "NotImplemented"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.signing.sign(t, tt.request, tt.body)
			if tt.change != nil {
				tt.change(tt.request)
			}
			c, err := newTestAWS().Check(received(t, tt.request))
			if got := codeOf(err); got != tt.want {
				t.Fatalf("got %q (%v), want %q", got, err, tt.want)
			}
			if err == nil && (c.Host != tt.request.URL.Host || c.App != 0) {
				t.Errorf("%+v", c)
			}
		})
	}
}

// The vector get-vanilla of AWS's test suite for Signature Version 4.
func TestVector(t *testing.T) {
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	r := request(t, "GET", "https://example.amazonaws.com/", "", headerDate, at.Format(sigV4Time), "Authorization",
		"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, "+
			"Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
	a := NewAWS(AWSOptions{Keys: []Keys{{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}}, Now: func() time.Time { return at }})
	if _, err := a.Check(received(t, r)); err != nil {
		t.Error(err)
	}
}

// Each key leads to its app.
func TestCheckApps(t *testing.T) {
	r := request(t, "GET", bucket+"/k", "")
	signing{keys: Keys{"TSHXOTHER", "other"}}.sign(t, r, "")
	c, err := newTestAWS().Check(received(t, r))
	if err != nil || c.App != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

// What is signed counts, also where the signer would not sign it.
func TestCheckOddHeaders(t *testing.T) {
	at := testNow.Format(sigV4Time)
	sign := func(names, canonical string) string {
		hash := hashOf(strings.Join([]string{"PUT", "/k", "", canonical, names, payloadUnsigned}, "\n"))
		scope := testNow.Format(sigV4Day) + "/eu-west-1/s3/aws4_request"
		s := &signature{At: testNow, Region: "eu-west-1", Service: "s3"}
		value := hmacSHA256(signingKey(s, credentials{secret: testKeys.Secret}), strings.Join([]string{sigV4Algorithm, at, scope, hash}, "\n"))
		return fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%x", sigV4Algorithm, testKeys.ID, scope, names, value)
	}
	const host = "host:b.s3.eu-west-1.amazonaws.com\n"
	rest := "x-amz-content-sha256:" + payloadUnsigned + "\nx-amz-date:" + at + "\n"
	for name, auth := range map[string]string{
		"usual":          sign("host;x-amz-content-sha256;x-amz-date", host+rest),
		"user agent":     sign("host;user-agent;x-amz-content-sha256;x-amz-date", host+"user-agent:me/1\n"+rest),
		"content length": sign("content-length;host;x-amz-content-sha256;x-amz-date", "content-length:5\n"+host+rest),
		"expect, trace":  sign("expect;host;x-amz-content-sha256;x-amz-date;x-amzn-trace-id", "expect:100-continue\n"+host+rest+"x-amzn-trace-id:t\n"),
		"not a comma":    strings.ReplaceAll(sign("host;x-amz-content-sha256;x-amz-date", host+rest), ", ", ","),
		"wrong: agent":   sign("host;user-agent;x-amz-content-sha256;x-amz-date", host+"user-agent:other\n"+rest),
		"wrong: length":  sign("content-length;host;x-amz-content-sha256;x-amz-date", "content-length:6\n"+host+rest),
	} {
		r := request(t, "PUT", bucket+"/k", "hello", "User-Agent", "me/1", "Expect", "100-continue", "X-Amzn-Trace-Id", "t",
			headerSHA256, payloadUnsigned, headerDate, at, "Authorization", auth)
		_, err := newTestAWS().Check(received(t, r))
		if want := strings.HasPrefix(name, "wrong"); (err != nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseAuthorization(t *testing.T) {
	const date = "20260304T050607Z"
	const good = "AWS4-HMAC-SHA256 Credential=AKID/20260304/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature="
	sum := strings.Repeat("0a", 32)
	if s, err := parseAuthorization(good+sum, date); err != nil || s.Key != "AKID" || s.Region != "us-east-1" || s.Service != "iam" ||
		len(s.Headers) != 3 || len(s.Value) != 32 || !s.At.Equal(testNow) {
		t.Errorf("%+v, %v", s, err)
	}
	for name, tt := range map[string]struct{ value, date string }{
		"no date":          {good + sum, ""},
		"other day":        {good + sum, "20260305T050607Z"},
		"no signature":     {good, date},
		"short":            {good + "0a", date},
		"not hex":          {good + strings.Repeat("zz", 32), date},
		"no host":          {strings.Replace(good, "host;", "", 1) + sum, date},
		"upper case":       {strings.Replace(good, "host;", "Host;host;", 1) + sum, date},
		"empty header":     {strings.Replace(good, "host;", "host;;", 1) + sum, date},
		"no key":           {strings.Replace(good, "AKID", "", 1) + sum, date},
		"no region":        {strings.Replace(good, "us-east-1", "", 1) + sum, date},
		"region, a host":   {strings.Replace(good, "us-east-1", "example.com", 1) + sum, date},
		"slash too much":   {strings.Replace(good, "AKID", "AK/ID", 1) + sum, date},
		"other terminator": {strings.Replace(good, "aws4_request", "aws5_request", 1) + sum, date},
		"twice":            {good + sum + ", Signature=" + sum, date},
	} {
		if s, err := parseAuthorization(tt.value, tt.date); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

func presign(t testing.TB, r *http.Request, s signing, payload string) *http.Request {
	t.Helper()
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s.service == "s3" })
	creds := aws.Credentials{AccessKeyID: s.keys.ID, SecretAccessKey: s.keys.Secret, SessionToken: s.token}
	uri, headers, err := signer.PresignHTTP(context.Background(), creds, r, payload, s.service, "eu-west-1", s.at)
	if err != nil {
		t.Fatal(err)
	}
	out := request(t, r.Method, uri, "")
	out.Body, out.ContentLength = r.Body, r.ContentLength
	for name, values := range headers {
		if name != "Host" && name != "Content-Length" {
			out.Header[name] = values
		}
	}
	return out
}

// A presigned URL is verified and goes on signed in its header, with what was in
// its query as headers or parameters.
func TestCheckPresigned(t *testing.T) {
	s3 := signing{keys: testKeys, service: "s3", at: testNow.Add(-time.Hour)}
	for _, tt := range []struct {
		name    string
		request *http.Request
		signing signing
		payload string
		change  func(r *http.Request)
		want    string
		query   string // of what goes on
	}{
		{"get", request(t, "GET", bucket+"/a%20b?X-Amz-Expires=3600&x-id=GetObject&response-content-type=a%20b", ""), s3, payloadUnsigned, nil, "", "response-content-type=a%20b&x-id=GetObject"},
		{"put", request(t, "PUT", bucket+"/k?X-Amz-Expires=3600", "", "X-Amz-Expected-Bucket-Owner", "1", "X-Amz-Meta-A", "b"), s3, payloadUnsigned, nil, "", ""},
		{"token of others", request(t, "GET", bucket+"/k?X-Amz-Expires=3600", ""), signing{keys: testKeys, service: "s3", at: testNow, token: "t"}, payloadUnsigned, nil, "", ""},
		{"sts", request(t, "GET", "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&X-Amz-Expires=60", "", "X-K8s-Aws-Id", "c"), signing{keys: testKeys, service: "sts", at: testNow}, hashOf(""), nil, "", "Action=GetCallerIdentity"},
		{"over", request(t, "GET", bucket+"/k?X-Amz-Expires=3599", ""), s3, payloadUnsigned, nil, "AccessDenied", ""},
		{"too long", request(t, "GET", bucket+"/k?X-Amz-Expires=604801", ""), s3, payloadUnsigned, nil, "IncompleteSignature", ""},
		{"from the future", request(t, "GET", bucket+"/k?X-Amz-Expires=3600", ""), signing{keys: testKeys, service: "s3", at: testNow.Add(time.Hour)}, payloadUnsigned, nil, "RequestTimeTooSkewed", ""},
		{"other path", request(t, "GET", bucket+"/k?X-Amz-Expires=3600", ""), s3, payloadUnsigned, func(r *http.Request) { r.URL.Path = "/l" }, "SignatureDoesNotMatch", ""},
		{"longer", request(t, "GET", bucket+"/k?X-Amz-Expires=3600", ""), s3, payloadUnsigned, func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "Expires=3600", "Expires=4000", 1)
		}, "SignatureDoesNotMatch", ""},
		{"another key", request(t, "GET", bucket+"/k?X-Amz-Expires=3600", ""), signing{keys: Keys{"AKIA", "x"}, service: "s3", at: testNow}, payloadUnsigned, nil, "InvalidAccessKeyId", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := presign(t, tt.request, tt.signing, tt.payload)
			r.Header.Set("Range", "bytes=0-9") // as clients add it
			if tt.change != nil {
				tt.change(r)
			}
			a := newTestAWS()
			c, err := a.Check(received(t, r))
			if got := codeOf(err); got != tt.want {
				t.Fatalf("got %q (%v), want %q", got, err, tt.want)
			}
			if err != nil {
				return
			}
			out := c.Request
			if out.URL.RawQuery != tt.query || out.Header.Get(headerToken) != "" {
				t.Errorf("goes on as %s %v", out.URL.RawQuery, out.Header)
			}
			for _, name := range []string{"X-Amz-Expected-Bucket-Owner", "X-Amz-Meta-A", "X-K8s-Aws-Id", "Range"} {
				want := tt.request.Header.Get(name)
				if name == "Range" {
					want = "bytes=0-9"
				}
				if got := out.Header.Get(name); got != want || want != "" && !strings.Contains(out.Header.Get("Authorization"), strings.ToLower(name)) {
					t.Errorf("%s: %q in %v", name, got, out.Header)
				}
			}
			// What goes on is signed as it should be.
			out.RequestURI = ""
			out.URL.Scheme, out.URL.Host = "https", out.Host
			if again, err := a.Check(received(t, out)); err != nil || again.Request.Header.Get("Authorization") != out.Header.Get("Authorization") {
				t.Errorf("checked again: %v", err)
			}
		})
	}
}

// A token that was left over in the environment does not go on.
func TestCheckForeignToken(t *testing.T) {
	r := request(t, "GET", bucket+"/k", "", "X-Amz-Acl", "a", "X-Teleport-Aws-Assumed-Role", "forged")
	signing{token: "left over"}.sign(t, r, "")
	a := newTestAWS()
	c, err := a.Check(received(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if c.Request.Header.Get(headerToken) != "" || strings.Contains(c.Request.Header.Get("Authorization"), "token") ||
		c.Request.Header.Get(headerAssumedRole) != "" || len(c.Header) != 0 {
		t.Errorf("%v, %v", c.Request.Header, c.Header)
	}
}
