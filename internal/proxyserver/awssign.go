package proxyserver

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/httpbinding"
)

// awsBodyMax bounds the bodies that are read before they are sent on: those of
// which the client has not declared the hash. S3, whose are larger, has it
// declared; of the other APIs the code of a Lambda function is the largest, 50
// MiB in base64.
const awsBodyMax = 70 << 20

// plainPaths are the services that sign a path as it is; all others escape it once
// more, also those that are named after S3, such as s3tables.
var plainPaths = []string{"s3", "s3express", "s3-object-lambda", "s3-outposts"}

const headerContentSHA256 = "X-Amz-Content-Sha256"

// awsSignature is what an Authorization header of Signature Version 4 says,
// without the signature itselc.
type awsSignature struct {
	accessKeyID     string
	region, service string
	headers         []string // that are signed, in lower case
}

// parseAWSSignature reads an Authorization header:
// "AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX".
func parseAWSSignature(auth string) (awsSignature, error) {
	if auth == "" {
		return awsSignature{}, errors.New("the request is not signed")
	}
	algorithm, rest, _ := strings.Cut(auth, " ")
	if algorithm != "AWS4-HMAC-SHA256" {
		return awsSignature{}, errors.New("the request is not signed by AWS Signature Version 4 (AWS4-HMAC-SHA256)")
	}
	fields := make(map[string]string)
	for part := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[k] = v
	}
	scope := strings.Split(fields["Credential"], "/")
	n := len(scope)
	if n < 5 || scope[n-1] != "aws4_request" || scope[n-2] == "" || scope[n-3] == "" || fields["SignedHeaders"] == "" || fields["Signature"] == "" {
		return awsSignature{}, errors.New("the Authorization header is no AWS signature")
	}
	return awsSignature{
		accessKeyID: strings.Join(scope[:n-4], "/"),
		region:      scope[n-3], service: scope[n-2],
		headers: strings.Split(strings.ToLower(fields["SignedHeaders"]), ";"),
	}, nil
}

// prepare makes a request one to AWS. It keeps the headers that the client has
// signed: for the others nobody vouches.
func (c *awsCall) prepare(out *http.Request) error {
	to := c.to(c.signature.service, c.host).url
	out.URL.RawQuery = c.client.URL.RawQuery
	out.URL.Scheme, out.URL.Host, out.Host = to.Scheme, to.Host, c.host
	upgrades := upgradeOf(out.Header) != ""
	for name := range out.Header {
		lower := strings.ToLower(name)
		switch {
		case strings.HasPrefix(lower, "x-teleport-"):
		case slices.Contains(c.signature.headers, lower):
			continue
		case lower == "expect": // whether to go on is for AWS to say
			continue
		case upgrades && (lower == "connection" || lower == "upgrade" || strings.HasPrefix(lower, "sec-websocket-")):
			continue
		}
		delete(out.Header, name)
	}
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", "") // none, in place of that of net/http
	}
	if c.assumed != "" {
		out.Header.Set("Authorization", c.auth)
		return nil
	}
	return c.sign(out)
}

// sign puts the signature of the account in place of the client's.
func (c *awsCall) sign(out *http.Request) error {
	if _, err := url.ParseQuery(out.URL.RawQuery); err != nil {
		// The signer would leave out what it cannot read.
		return awsInvalid("query: %w", err)
	}
	out.Header.Del("Authorization")
	out.Header.Del("X-Amz-Security-Token")
	hash := out.Header.Get(headerContentSHA256)
	if declared := hash != ""; !declared || c.signature.service == "sts" { // whose requests may change
		var err error
		if hash, err = c.hashBody(out); err != nil {
			return err
		}
		if declared {
			out.Header.Set(headerContentSHA256, hash)
		}
	}
	s3 := slices.Contains(plainPaths, c.signature.service)
	if s3 {
		// S3 signs the path as it is, in the one form that it takes for canonical.
		out.URL.RawPath = httpbinding.EscapePath(out.URL.Path, false)
		out.Header.Set(headerContentSHA256, hash)
	}
	region := c.region
	if region == "" {
		region = c.signature.region
	}
	return v4.NewSigner().SignHTTP(out.Context(), c.credentials, out, hash, c.signature.service, region, time.Now(),
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s3 })
}

// hashBody reads the body and puts it back.
func (c *awsCall) hashBody(out *http.Request) (string, error) {
	var body []byte
	var err error
	if out.Body != nil {
		if body, err = io.ReadAll(io.LimitReader(out.Body, awsBodyMax+1)); err != nil {
			return "", &awsError{http.StatusBadRequest, "IncompleteBody", err}
		}
		if len(body) > awsBodyMax {
			return "", &awsError{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
				fmt.Errorf("a body without %s may have %d bytes", headerContentSHA256, awsBodyMax)}
		}
	}
	if c.signature.service == "sts" {
		if body, err = c.limitSession(out, body); err != nil {
			return "", err
		}
	}
	if out.Body != nil {
		out.Body = io.NopCloser(bytes.NewReader(body))
		out.ContentLength = int64(len(body))
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}
