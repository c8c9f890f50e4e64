package cloudproxy

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"tshx/internal/conn"
	"tshx/internal/localproxy"
)

func unused(http.ResponseWriter, *http.Request) { panic("a request got through") }

const bucketList = `<?xml version="1.0"?><ListAllMyBucketsResult><Buckets><Bucket><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>`

// The SDK's clients get to the app whose key they have, which is told the host.
func TestSDK(t *testing.T) {
	for _, endpoint := range []bool{false, true} {
		t.Run(fmt.Sprint("endpoint ", endpoint), func(t *testing.T) {
			var got http.Header
			var host, put string
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				got, host = r.Header.Clone(), r.Host
				body, _ := io.ReadAll(r.Body)
				put = string(body)
				io.WriteString(rw, bucketList)
			}, func(w *world) { w.o.Endpoint = endpoint })
			c := s3.NewFromConfig(w.sdk(testKeys), func(o *s3.Options) { o.UsePathStyle = true })
			out, err := c.ListBuckets(t.Context(), &s3.ListBucketsInput{})
			if err != nil || len(out.Buckets) != 1 {
				t.Fatalf("%v, %v", out, err)
			}
			const want = "s3.eu-west-1.amazonaws.com"
			if got.Get("X-Forwarded-Host") != want || host != want || got.Get("X-Forwarded-For") != "" || !strings.Contains(got.Get("Authorization"), testKeys.ID) {
				t.Errorf("host %s, %v", host, got)
			}
			// A body that is streamed, in chunks with a checksum behind them.
			_, err = c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Body: strings.NewReader("hello")})
			if err != nil || !strings.Contains(put, "hello") || got.Get(headerSHA256) == "" {
				t.Errorf("%v, %q %v", err, put, got)
			}
			if _, err := sts.NewFromConfig(w.sdk(testKeys)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err == nil {
				t.Error("the list of buckets is an identity")
			}
			if host != "sts.eu-west-1.amazonaws.com" || put != "Action=GetCallerIdentity&Version=2011-06-15" {
				t.Errorf("%s, %q", host, put)
			}
		})
	}
}

// What goes wrong is an error of AWS, which programs show with our words.
func TestSDKErrors(t *testing.T) {
	certErr, dialErr := error(errors.New("certificate expired; run: tsh apps login one")), error(&net.DNSError{IsTimeout: true, Err: "slow"})
	refused := error(errors.New("connection refused"))
	explain := func(err error) string { return "in our words: " + err.Error() }
	for _, tt := range []struct {
		name   string
		keys   Keys
		change func(w *world)
		code   string
		status int
		text   string
	}{
		{"another key", Keys{"AKIAREAL", "x"}, nil, "InvalidAccessKeyId", 403, "--profile"},
		{"another secret", Keys{testKeys.ID, "x"}, nil, "SignatureDoesNotMatch", 403, "secret access key"},
		{"no certificate", testKeys, func(w *world) { w.certErr.Store(&certErr) }, "ExpiredToken", 403, "in our words: certificate expired; run: tsh apps login one"},
		{"no way", testKeys, func(w *world) { w.dialErr.Store(&refused) }, "BadGateway", 502, "in our words: connection refused"},
		{"no answer", testKeys, func(w *world) { w.dialErr.Store(&dialErr) }, "GatewayTimeout", 504, "in our words: "},
		{"session over", testKeys, func(w *world) {
			w.handler = func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "https://proxy.example.com/web/launch/x", http.StatusFound)
			}
		}, "ExpiredToken", 403, "a new login"},
		{"refused by the proxy", testKeys, func(w *world) {
			w.handler = func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set(headerAPIError, "no such role")
				http.Error(rw, "<html>", http.StatusForbidden)
			}
		}, "AccessDenied", 403, "no such role"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reported := make(chan error, 10)
			w := newWorld(t, unused, func(w *world) { w.o.Explain, w.o.Report = explain, func(err error) { reported <- err } })
			if tt.change != nil {
				tt.change(w)
			}
			check := func(err error) {
				t.Helper()
				var api smithy.APIError
				if !errors.As(err, &api) || api.ErrorCode() != tt.code || !strings.Contains(api.ErrorMessage(), tt.text) {
					t.Errorf("%v", err)
				}
				var res interface{ HTTPStatusCode() int }
				if !errors.As(err, &res) || res.HTTPStatusCode() != tt.status {
					t.Errorf("%v: status", err)
				}
				<-reported
			}
			_, err := s3.NewFromConfig(w.sdk(tt.keys)).ListBuckets(t.Context(), &s3.ListBucketsInput{})
			check(err)
			_, err = sts.NewFromConfig(w.sdk(tt.keys)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
			check(err)
		})
	}
}

// The answer to HEAD has no place for words, which then go elsewhere.
func TestUnheard(t *testing.T) {
	unheard := make(chan error, 10)
	w := newWorld(t, unused, func(w *world) { w.o.Unheard = func(err error) { unheard <- err } })
	certErr := errors.New("expired")
	w.certErr.Store(&certErr)
	for _, method := range []string{"GET", "HEAD"} {
		r := request(t, method, bucket+"/k", "")
		signing{at: time.Now()}.sign(t, r, "")
		if code, body := w.do(r); code != 403 || (body == "") != (method == "HEAD") {
			t.Errorf("%s: %d %s", method, code, body)
		}
	}
	if err := <-unheard; !errors.Is(err, certErr) || len(unheard) > 0 {
		t.Errorf("%v, and %d more", err, len(unheard))
	}
}

// A body goes on while it comes, although its hash is checked, and its end follows
// only if that is right.
func TestBodyStreams(t *testing.T) {
	const half = 1 << 20
	for _, tt := range []struct {
		name    string
		length  bool
		correct bool
	}{{"known length", true, true}, {"chunked", false, true}, {"known length, wrong", true, false}, {"chunked, wrong", false, false}} {
		t.Run(tt.name, func(t *testing.T) {
			arrived, whole := make(chan struct{}), make(chan bool, 1)
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				if _, err := io.CopyN(io.Discard, r.Body, half); err != nil {
					t.Error(err)
				}
				close(arrived)
				n, err := io.Copy(io.Discard, r.Body)
				whole <- err == nil && n == half
			}, nil)
			text := strings.Repeat("x", 2*half)
			pr, pw := io.Pipe()
			r := request(t, "PUT", bucket+"/k", "")
			r.Body, r.ContentLength = pr, -1
			sum := sha256.Sum256([]byte(text))
			payload := hex.EncodeToString(sum[:])
			if !tt.correct {
				payload = hashOf("something else")
			}
			if tt.length {
				r.ContentLength = int64(len(text))
			}
			signing{at: time.Now(), payload: payload}.sign(t, r, "")
			go func() {
				io.WriteString(pw, text[:half])
				<-arrived
				io.WriteString(pw, text[half:])
				pw.Close()
			}()
			code, body := w.do(r)
			if got := <-whole; got != tt.correct {
				t.Errorf("whole: %v", got)
			}
			if tt.correct != (code == 200) || !tt.correct && !strings.Contains(body, "XAmzContentSHA256Mismatch") {
				t.Errorf("%d %s", code, body)
			}
		})
	}
}

// What the client says about itself and about roles does not count.
func TestForgedHeaders(t *testing.T) {
	var got http.Header
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) { got = r.Header }, nil)
	r := request(t, "GET", bucket+"/k", "", "X-Forwarded-Host", "evil.example.com", headerAssumedRole, "r", headerAssumedAuthorization, "a", "X-Teleport-X", "y")
	signing{at: time.Now()}.sign(t, r, "")
	if code, body := w.do(r); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	for name := range got {
		if strings.HasPrefix(name, "X-Teleport-") {
			t.Errorf("%s goes on", name)
		}
	}
	if h := got["X-Forwarded-Host"]; len(h) != 1 || h[0] != "b.s3.eu-west-1.amazonaws.com" {
		t.Errorf("X-Forwarded-Host %q", h)
	}
}

// Everything else is passed through, with its half-closes, and cannot be told from a
// direct connection.
func TestPassed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ends := make(chan localproxy.End, 10)
	w := newWorld(t, unused, func(w *world) {
		w.directTo = ln.Addr().String()
		w.o.Closed = func(_ localproxy.Connection, e localproxy.End) { ends <- e }
	})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(c)
			fmt.Fprintf(c, "got %s", b)
			c.Close()
		}
	}()
	for _, target := range []string{"example.com:443", "db.rds.amazonaws.com:5432", "ssmmessages.eu-west-1.amazonaws.com:443"} {
		c := w.connect(target, "early ")
		io.WriteString(c, "late")
		conn.CloseWrite(c)
		if b, err := io.ReadAll(c); err != nil || string(b) != "got early late" {
			t.Errorf("%s: %q, %v", target, b, err)
		}
		if e := <-ends; e.Reason != localproxy.EOF || e.Sent != 10 || e.Received != 14 {
			t.Errorf("%s: %+v", target, e)
		}
	}
}

// connect asks for a tunnel and sends early right behind that.
func (w *world) connect(target, early string) net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n%s", target, target, early)
	const granted = "HTTP/1.1 200 Connection established\r\n\r\n"
	buf := make([]byte, len(granted))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != granted {
		w.t.Fatalf("%q, %v", buf, err)
	}
	return c
}

func TestRefusals(t *testing.T) {
	slow := func(context.Context, string, string) (net.Conn, error) { return nil, os.ErrDeadlineExceeded }
	failing := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("two\nlines") }
	for _, tt := range []struct {
		name, send string
		direct     func(context.Context, string, string) (net.Conn, error)
		code       int
	}{
		{"plain HTTP", "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", failing, 400},
		{"no address", "CONNECT /x HTTP/1.1\r\nHost: x\r\n\r\n", failing, 400},
		{"no way", "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", failing, 502},
		{"no answer", "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", slow, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, unused, func(w *world) { w.o.Direct = tt.direct })
			c, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, tt.send)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != tt.code {
				t.Errorf("%v, %v", res, err)
			}
		})
	}
}

const assumeRoleAnswer = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><AssumedRoleId>x</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/r/s</Arn></AssumedRoleUser>
<Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>rolesecret</SecretAccessKey><SessionToken>roletoken</SessionToken><Expiration>%s</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>`

// Credentials of a role that was assumed go on with their own signature, over the
// app that they were got by, for as long as they are valid.
func TestAssumeRole(t *testing.T) {
	var got http.Header
	now := time.Now()
	clock := &now
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		got = r.Header
		io.Copy(io.Discard, r.Body)
		if strings.HasPrefix(r.Host, "sts.") {
			fmt.Fprintf(rw, assumeRoleAnswer, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		}
	}, func(w *world) { w.aws.Now = func() time.Time { return *clock } })
	role := signing{keys: Keys{"ASIAROLE", "rolesecret"}, token: "roletoken", at: now}
	ask := func(s signing) (int, string, string) {
		r := request(t, "PUT", bucket+"/k", "hello")
		s.sign(t, r, "hello")
		code, body := w.do(r)
		return code, body, r.Header.Get("Authorization")
	}
	if code, body, _ := ask(role); code != 403 || !strings.Contains(body, "InvalidAccessKeyId") {
		t.Errorf("before: %d %s", code, body)
	}
	out, err := sts.NewFromConfig(w.sdk(Keys{"TSHXOTHER", "other"})).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("r"), RoleSessionName: aws.String("s")})
	if err != nil || *out.Credentials.AccessKeyId != "ASIAROLE" {
		t.Fatalf("%v, %v", out, err)
	}
	code, body, auth := ask(role)
	if code != 200 || got.Get(headerAssumedRole) != "arn:aws:sts::1:assumed-role/r/s" || got.Get(headerAssumedAuthorization) != auth ||
		got.Get("Authorization") != "" || got.Get(headerToken) != "roletoken" {
		t.Errorf("%d %s: %v", code, body, got)
	}
	if c, ok := w.o.Cloud.(*AWS).find("ASIAROLE"); !ok || c.app != 1 {
		t.Errorf("%+v", c)
	}
	for name, s := range map[string]signing{
		"InvalidClientTokenId":  {keys: role.keys, token: "another", at: now},
		"SignatureDoesNotMatch": {keys: Keys{"ASIAROLE", "x"}, token: "roletoken", at: now},
	} {
		if code, body, _ := ask(s); code != 403 || !strings.Contains(body, name) {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	// A presigned URL of the role becomes a request that it signs.
	pre := presign(t, request(t, "GET", bucket+"/k?X-Amz-Expires=60", ""), signing{keys: role.keys, token: "roletoken", service: "s3", at: now}, payloadUnsigned)
	if code, body := w.do(pre); code != 200 || !strings.Contains(got.Get(headerAssumedAuthorization), "x-amz-security-token") || got.Get(headerToken) != "roletoken" {
		t.Errorf("presigned: %d %s: %v", code, body, got)
	}
	later := now.Add(time.Hour + time.Minute)
	clock = &later
	role.at = later
	if code, body, _ := ask(role); code != 403 || !strings.Contains(body, "InvalidAccessKeyId") {
		t.Errorf("after its end: %d %s", code, body)
	}
}

// Not more than so many are remembered, and nothing that is not whole.
func TestAssumedBounded(t *testing.T) {
	a := &assumed{now: time.Now}
	start := time.Now().Add(time.Hour)
	for i := range maxAssumed + 10 {
		a.add(assumedRole{credentials{id: fmt.Sprint(i), token: "t"}, start.Add(time.Duration(i) * time.Second)})
	}
	_, first := a.find("9")
	_, last := a.find(fmt.Sprint(maxAssumed + 9))
	if len(a.all) != maxAssumed || first || !last {
		t.Errorf("%d are remembered, %v, %v", len(a.all), first, last)
	}
	good := fmt.Sprintf(assumeRoleAnswer, start.UTC().Format(time.RFC3339))
	for text, want := range map[string]bool{
		good: true, strings.Replace(good, "roletoken", "", 1): false, strings.ReplaceAll(good, "AssumeRoleRes", "GetCallerRes"): false,
		good[:200]: false, "{}": false, "": false,
	} {
		if _, ok := parseAssumeRole([]byte(text)); ok != want {
			t.Errorf("%.40s: %v", text, ok)
		}
	}
}

// WebSockets go on, behind a signature like everything else.
func TestWebSocket(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(c, c)
	}, nil)
	r := request(t, "GET", "https://x.execute-api.eu-west-1.amazonaws.com/live", "", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key", "k")
	signing{service: "execute-api", at: time.Now()}.sign(t, r, "")
	res, err := w.client().Do(r)
	if err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	defer res.Body.Close()
	io.WriteString(res.Body.(io.Writer), "ping")
	buf := make([]byte, 4)
	if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "ping" {
		t.Errorf("%q, %v", buf, err)
	}
}

// A drain closes what waits for a next request, and what has not said anything.
func TestDrain(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) {}, nil)
	r := request(t, "GET", bucket+"/k", "")
	signing{at: time.Now()}.sign(t, r, "")
	res, err := w.client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	silent, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w.stop()
	<-w.done
}
