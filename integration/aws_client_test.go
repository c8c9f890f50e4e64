//go:build linux

package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// awsOptions are those of a program that calls the AWS CLI: the distribution's,
// with nothing of the machine's in it.
func awsOptions(tr *transport) options {
	o := tr.options()
	o.env = append(o.env, "PATH=/usr/bin:"+os.Getenv("PATH"), "AWS_DEFAULT_REGION="+awsRegion, "AWS_REGION="+awsRegion,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=1")
	return o
}

// awsCLI runs tshx aws to its end.
func awsCLI(t testing.TB, tr *transport, args ...string) *program {
	t.Helper()
	need(t, "aws")
	p := launch(t, awsOptions(tr), append([]string{tshxPath, "aws"}, args...)...)
	p.wait()
	return p
}

// awsSays is awsCLI for what must succeed, and returns what it says.
func awsSays(t testing.TB, tr *transport, args ...string) string {
	t.Helper()
	p := awsCLI(t, tr, args...)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 || p.stderr.String() != "" {
		t.Errorf("tshx aws %s: exit code %d: %s", strings.Join(args, " "), code, clip(p.stderr.String()))
	}
	return p.stdout.String()
}

// awsProxy is a running tshx proxy aws and what it tells programs.
type awsProxy struct {
	*program
	env map[string]string
}

// startAWSProxy runs tshx proxy aws around a shell that prints its environment and
// lives as long as the test.
func startAWSProxy(t testing.TB, tr *transport, args ...string) *awsProxy {
	t.Helper()
	o := awsOptions(tr)
	var end *os.File
	o.stdin, end = pipe(t)
	const script = `env | grep -iE '^(AWS_|HTTPS?_PROXY|NO_PROXY)'; echo; echo "all: there"; exec cat`
	p := &awsProxy{program: launch(t, o, slices.Concat([]string{tshxPath, "proxy", "aws"}, args, []string{"--", "sh", "-c", script})...)}
	p.lineAfter("all: ")
	p.env = map[string]string{}
	for _, l := range lines(p.stdout.String()) {
		if k, v, ok := strings.Cut(l, "="); ok {
			p.env[k] = v
		}
	}
	t.Cleanup(func() {
		end.Close()
		if code := p.wait(); code != 0 {
			t.Errorf("exit code %d of tshx proxy aws", code)
		}
	})
	return p
}

// environ is what other programs get.
func (p *awsProxy) environ() []string {
	var list []string
	for k, v := range p.env {
		list = append(list, k+"="+v)
	}
	return list
}

// transport trusts and uses the proxy as programs do that read the environment.
func (p *awsProxy) transport(t testing.TB) *http.Transport {
	t.Helper()
	pem, err := os.ReadFile(p.env["AWS_CA_BUNDLE"])
	if err != nil {
		t.Fatalf("%v in %q", err, slices.Sorted(maps.Keys(p.env)))
	}
	cas := x509.NewCertPool()
	cas.AppendCertsFromPEM(pem)
	h := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: cas}, MaxIdleConnsPerHost: 10}
	if via := p.env["HTTPS_PROXY"]; via != "" {
		u, err := url.Parse(via)
		if err != nil {
			t.Fatal(err)
		}
		h.Proxy = http.ProxyURL(u)
	}
	t.Cleanup(h.CloseIdleConnections)
	return h
}

// inMemory is an HTTP client of the SDK that has small bodies as a whole. The SDK
// closes its own once the answer begins, and net/http, which may then still be
// looking for their end, takes that for an error and closes the connection, with the
// answer half read.
type inMemory struct{ http.RoundTripper }

func (m inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	const small = 1 << 20
	if r.Body != nil && r.ContentLength > 0 && r.ContentLength <= small {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return m.RoundTripper.RoundTrip(r)
}

// credentials are the throw-away ones.
func (p *awsProxy) credentials() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(p.env["AWS_ACCESS_KEY_ID"], p.env["AWS_SECRET_ACCESS_KEY"], p.env["AWS_SESSION_TOKEN"])
}

func (p *awsProxy) s3(t testing.TB, keys aws.CredentialsProvider) *s3.Client {
	t.Helper()
	return s3.New(s3.Options{Region: awsRegion, Credentials: keys, HTTPClient: &http.Client{Transport: inMemory{p.transport(t)}}, RetryMaxAttempts: 1})
}

func (p *awsProxy) sts(t testing.TB, keys aws.CredentialsProvider) *sts.Client {
	t.Helper()
	return sts.New(sts.Options{Region: awsRegion, Credentials: keys, HTTPClient: &http.Client{Transport: inMemory{p.transport(t)}}, RetryMaxAttempts: 1})
}

// whoAmI asks STS.
func whoAmI(t testing.TB, c *sts.Client) string {
	t.Helper()
	who, err := c.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Error(err)
		return ""
	}
	return *who.Arn
}

// codeOfAWS is what AWS calls an error.
func codeOfAWS(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// profileKeys are those of a profile in the text of configuration files.
func profileKeys(t testing.TB, text, profile string) aws.CredentialsProvider {
	t.Helper()
	var id, secret string
	in := false
	for _, l := range lines(text) {
		if strings.HasPrefix(l, "[") {
			in = l == "["+profile+"]" || l == "[profile "+profile+"]"
			continue
		}
		k, v, _ := strings.Cut(l, "=")
		switch strings.TrimSpace(k) {
		case "aws_access_key_id":
			if in {
				id = strings.TrimSpace(v)
			}
		case "aws_secret_access_key":
			if in {
				secret = strings.TrimSpace(v)
			}
		}
	}
	if id == "" || secret == "" {
		t.Fatalf("no keys of profile %q", profile)
	}
	return credentials.NewStaticCredentialsProvider(id, secret, "")
}
