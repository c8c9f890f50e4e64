package cloudproxy

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/httpbinding"
)

// The words of Signature Version 4.
const (
	sigV4Algorithm  = "AWS4-HMAC-SHA256"
	sigV4Terminator = "aws4_request"
	sigV4Time       = "20060102T150405Z"
	sigV4Day        = "20060102"
	sigV4aAlgorithm = "AWS4-ECDSA-P256-SHA256"

	headerDate   = "X-Amz-Date"
	headerToken  = "X-Amz-Security-Token"
	headerSHA256 = "X-Amz-Content-Sha256"

	querySignature = "X-Amz-Signature"
)

// Errors of a request that is not signed as it should be.
var (
	errUnsigned  = errors.New("the request is not signed")
	errSigV4a    = errors.New("it is signed with SigV4a, for several regions, which cannot be signed anew on the way")
	errMalformed = errors.New("the signature cannot be read")
)

// signature is what a request says about how it was signed.
type signature struct {
	Key     string    // access key id
	At      time.Time // when
	Region  string
	Service string
	Headers []string // that are signed, in lower case
	Value   []byte
	// Presigned says that it is in the query, good for so long from At on.
	Presigned bool
	Expires   time.Duration
}

// readSignature finds the signature of a request, in its header or query.
func readSignature(r *http.Request) (*signature, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case err != nil: // the signer would leave out what it cannot read
		return nil, fmt.Errorf("%w: query: %v", errMalformed, err)
	case len(r.Header.Values("Authorization")) > 1, len(r.Header.Values(headerDate)) > 1:
		return nil, fmt.Errorf("%w: Authorization or %s twice", errMalformed, headerDate)
	case r.Header.Get("Authorization") != "":
		return parseAuthorization(r.Header.Get("Authorization"), r.Header.Get(headerDate))
	case query.Has("X-Amz-Algorithm"):
		return parsePresigned(query)
	}
	return nil, errUnsigned
}

// parseAuthorization reads the values of an Authorization header and of
// X-Amz-Date.
func parseAuthorization(value, date string) (*signature, error) {
	algorithm, rest, _ := strings.Cut(value, " ")
	fields := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if _, twice := fields[name]; ok && twice {
			return nil, fmt.Errorf("%w: %s twice", errMalformed, name)
		}
		fields[name] = value
	}
	return newSignature(algorithm, fields["Credential"], date, fields["SignedHeaders"], fields["Signature"])
}

// parsePresigned reads the query of a presigned URL.
func parsePresigned(query url.Values) (*signature, error) {
	s, err := newSignature(query.Get("X-Amz-Algorithm"), query.Get("X-Amz-Credential"), query.Get(headerDate),
		query.Get("X-Amz-SignedHeaders"), query.Get(querySignature))
	if err != nil {
		return nil, err
	}
	s.Presigned, s.Expires = true, maxSkew
	if value := query.Get("X-Amz-Expires"); value != "" {
		seconds, err := strconv.ParseUint(value, 10, 32)
		if err != nil || time.Duration(seconds)*time.Second > maxExpires {
			return nil, fmt.Errorf("%w: X-Amz-Expires", errMalformed)
		}
		s.Expires = time.Duration(seconds) * time.Second
	}
	return s, nil
}

func newSignature(algorithm, credential, date, headers, value string) (*signature, error) {
	switch algorithm {
	case sigV4Algorithm:
	case sigV4aAlgorithm:
		return nil, errSigV4a
	default:
		return nil, fmt.Errorf("%w: another algorithm than %s", errUnsigned, sigV4Algorithm)
	}
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || slices.Contains(parts, "") || parts[4] != sigV4Terminator || !scopeWord(parts[2]) || !scopeWord(parts[3]) {
		return nil, fmt.Errorf("%w: credential scope", errMalformed)
	}
	s := &signature{Key: parts[0], Region: parts[2], Service: parts[3], Headers: strings.Split(headers, ";")}
	var err error
	if s.At, err = time.Parse(sigV4Time, date); err != nil {
		return nil, fmt.Errorf("%w: %s", errMalformed, headerDate)
	}
	if s.At.Format(sigV4Day) != parts[1] {
		return nil, fmt.Errorf("%w: its credential scope is of another day than %s", errMalformed, headerDate)
	}
	if s.Value, err = hex.DecodeString(value); err != nil || len(s.Value) != 32 {
		return nil, fmt.Errorf("%w: Signature", errMalformed)
	}
	if !slices.Contains(s.Headers, "host") || slices.ContainsFunc(s.Headers, func(h string) bool { return h == "" || h != strings.ToLower(h) }) {
		return nil, fmt.Errorf("%w: SignedHeaders", errMalformed)
	}
	return s, nil
}

// scopeWord reports whether a region or service can be part of a host name, and of
// a path.
func scopeWord(s string) bool {
	return len(s) <= 63 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// signed reports whether a header, in lower case, is among those that are signed.
func (s *signature) signed(name string) bool { return slices.Contains(s.Headers, name) }

// credentials are a key pair and what it is for.
type credentials struct {
	id, secret string
	token      string // of an assumed role; empty for our own keys
	app        int
	arn        string // of the role that was assumed
}

func (c credentials) aws() aws.Credentials {
	return aws.Credentials{AccessKeyID: c.id, SecretAccessKey: c.secret}
}

// matches reports whether the request, as it came, was signed by these credentials,
// given the hash of its payload, as the header for it has it.
func (s *signature) matches(r *http.Request, c credentials, payload string) (bool, error) {
	for _, path := range s.paths(r) {
		want, err := s.compute(r, c, payload, path)
		if err != nil {
			return false, err
		}
		if subtle.ConstantTimeCompare(want, s.Value) == 1 {
			return true, nil
		}
	}
	return s.matchesWire(r, c, payload), nil
}

// paths are what may be signed as the path of a request: what is on the wire, and
// what other signers make of that, who send it all the same. For S3 that is the one
// way of escaping it, for others the path without what is superfluous in it.
func (s *signature) paths(r *http.Request) []string {
	wire := r.URL.EscapedPath()
	if strings.HasPrefix(r.RequestURI, "/") { // as it was written
		wire, _, _ = strings.Cut(r.RequestURI, "?")
	}
	other := path.Clean("/" + wire)
	if strings.HasSuffix(wire, "/") && other != "/" {
		other += "/"
	}
	if s.plainPath() {
		other = httpbinding.EscapePath(r.URL.Path, false)
	}
	if other == wire {
		return []string{wire}
	}
	return []string{wire, other}
}

// plainPaths are the services whose path is signed as it is. All others have it
// escaped once more, also those that are named after S3, such as s3tables.
var plainPaths = []string{"s3", "s3express", "s3-object-lambda", "s3-outposts"}

func (s *signature) plainPath() bool { return slices.Contains(plainPaths, s.Service) }

// compute signs what the request says is signed.
func (s *signature) compute(r *http.Request, c credentials, payload, path string) ([]byte, error) {
	in := &http.Request{
		Method: r.Method, Host: r.Host, Header: http.Header{},
		URL: &url.URL{Opaque: "//host" + path, RawQuery: r.URL.RawQuery},
	}
	for _, name := range s.Headers {
		switch name {
		case "host", strings.ToLower(headerDate):
		case "content-length":
			in.ContentLength = r.ContentLength
		case "transfer-encoding":
			in.Header[name] = r.TransferEncoding
		default:
			// In lower case, the signer takes those, too, which it never signs itself.
			in.Header[name] = r.Header.Values(name)
		}
	}
	// A signer of its own keeps no keys, and there is no end to regions and services
	// that a client may name.
	signer := v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableHeaderHoisting, o.DisableURIPathEscaping = true, s.plainPath()
	})
	ctx := context.Background() // it logs nothing
	if !s.Presigned {
		if err := signer.SignHTTP(ctx, c.aws(), in, payload, s.Service, s.Region, s.At); err != nil {
			return nil, err
		}
		return signatureAtEnd(in.Header.Get("Authorization"), "Signature=")
	}
	query := in.URL.Query()
	query.Del(querySignature)
	in.URL.RawQuery = query.Encode()
	uri, _, err := signer.PresignHTTP(ctx, c.aws(), in, payload, s.Service, s.Region, s.At)
	if err != nil {
		return nil, err
	}
	return signatureAtEnd(uri, querySignature+"=")
}

func signatureAtEnd(text, name string) ([]byte, error) {
	i := strings.LastIndex(text, name)
	if i < 0 {
		return nil, errors.New("the signer made no signature")
	}
	return hex.DecodeString(text[i+len(name):])
}

// neverSigned are the headers that a client need not sign when a request is signed
// anew: they are about the connection, or change on the way.
var neverSigned = []string{
	"Authorization", "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"User-Agent", "Accept", "Accept-Encoding", "Expect", "Content-Length", "X-Amzn-Trace-Id", "Via", "Forwarded",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", headerDate, headerToken,
}

// sign signs a request anew by its header, at a time. all has it sign headers that
// were not signed before, too: the far side drops what is not signed.
func (s *signature) sign(r *http.Request, c credentials, payload string, at time.Time, all bool) error {
	in := &http.Request{
		Method: r.Method, Host: r.Host, Header: http.Header{},
		URL: &url.URL{Opaque: "//host" + s.paths(r)[0], RawQuery: r.URL.RawQuery},
	}
	for name, values := range r.Header {
		if !slices.Contains(neverSigned, name) && (all || s.signed(strings.ToLower(name))) {
			in.Header[name] = values
		}
	}
	creds := c.aws()
	creds.SessionToken = c.token
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = s.plainPath() })
	if err := signer.SignHTTP(context.Background(), creds, in, payload, s.Service, s.Region, at); err != nil {
		return err
	}
	r.Header.Del(headerToken)
	for _, name := range []string{"Authorization", headerDate, headerToken} {
		if value := in.Header.Get(name); value != "" {
			r.Header.Set(name, value)
		}
	}
	return nil
}
