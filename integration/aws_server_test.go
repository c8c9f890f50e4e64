//go:build linux

package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tshx/internal/profile"
)

// forwardingHost stands for the client half: it says which host a request is for.
type forwardingHost struct{ *http.Transport }

func (f forwardingHost) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-Host", r.URL.Host)
	r.Host = r.URL.Host
	return f.Transport.RoundTrip(r)
}

// awsDirect is an HTTP client of the SDK that has the certificate of an app.
func awsDirect(t testing.TB, tr *transport, app string) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(tr.caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(pem)
	host, _, _ := net.SplitHostPort(tr.addr)
	pair := tr.paths().Pair(profile.LayoutV17, profile.KindApp, tr.cluster, app)
	cert, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{RootCAs: pool, ServerName: host, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	h := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", tr.addr)
	}}
	t.Cleanup(h.CloseIdleConnections)
	return &http.Client{Transport: inMemory{forwardingHost{h}}}
}

// TestAWSServerHalf: what the SDK signs with keys that are good for nothing is
// good enough for S3 and STS behind the server half.
func TestAWSServerHalf(t *testing.T) {
	tr := awsTransports[0].get(t)
	nobody := credentials.NewStaticCredentialsProvider("AKIANOBODY", "nothing", "")
	for app, arn := range awsARN {
		c := sts.New(sts.Options{Region: awsRegion, Credentials: nobody, HTTPClient: awsDirect(t, tr, app)})
		who, err := c.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		if err != nil || *who.Arn != arn {
			t.Errorf("%s: %v, %v", app, who, err)
		}
	}
	for _, pathStyle := range []bool{false, true} {
		c := s3.New(s3.Options{Region: awsRegion, Credentials: nobody, HTTPClient: awsDirect(t, tr, awsMain), UsePathStyle: pathStyle})
		for _, key := range []string{"plain", "a b/ü+%25//x'()!*&$,;=:@~", "dots/../and/./more"} {
			content := bytes.Repeat([]byte(key), 1000)
			key = "server " + key + time.Now().String()
			if pathStyle {
				key = "by path " + key
			}
			// A body that cannot be rewound is sent with a trailer of checksums.
			if _, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String(awsBucket), Key: &key, Body: bytes.NewReader(content)}); err != nil {
				t.Errorf("%q: %v", key, err)
				continue
			}
			out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(awsBucket), Key: &key})
			if err != nil {
				t.Errorf("%q: %v", key, err)
				continue
			}
			got, err := io.ReadAll(out.Body)
			out.Body.Close()
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%q: %d bytes of %d, %v", key, len(got), len(content), err)
			}
			if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(awsBucket), Key: &key}); err != nil {
				t.Errorf("%q: %v", key, err)
			}
		}
	}
	for app, code := range map[string]string{awsWrong: "SignatureDoesNotMatch", awsDown: "BadGateway"} {
		c := s3.New(s3.Options{Region: awsRegion, Credentials: nobody, HTTPClient: awsDirect(t, tr, app), RetryMaxAttempts: 1})
		_, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(awsBucket)})
		if codeOfAWS(err) != code {
			t.Errorf("%s: %v, want %s", app, err, code)
		}
	}
}
