package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// skew is how far the time of a signature may be off.
const skew = 15 * time.Minute

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/sts/aws4_request, ?SignedHeaders=([^,]+), ?Signature=[0-9a-f]{64}$`)

// verify returns whose signature a request has: it is signed again with the keys
// that it names, and the outcome has to be the same.
func (s *stsServer) verify(r *http.Request, body []byte) (credentials, error) {
	denied := &stsError{http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided."}
	given := r.Header.Get("Authorization")
	m := authorization.FindStringSubmatch(given)
	if m == nil {
		return credentials{}, &stsError{http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token"}
	}
	keys, err := s.store.get(m[1], r.Header.Get("X-Amz-Security-Token"))
	if err != nil {
		return credentials{}, verifyError(err)
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > skew {
		return credentials{}, denied
	}
	signed := strings.Split(m[3], ";")
	again := &http.Request{Method: r.Method, Host: r.Host, Header: make(http.Header), ContentLength: int64(len(body)),
		URL: &url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}}
	for name, values := range r.Header {
		if slices.Contains(signed, strings.ToLower(name)) {
			again.Header[name] = slices.Clone(values)
		}
	}
	if !slices.Contains(signed, "content-length") {
		again.ContentLength = 0
	}
	sum := sha256.Sum256(body)
	c := aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.Token}
	if err := v4.NewSigner().SignHTTP(r.Context(), c, again, hex.EncodeToString(sum[:]), "sts", m[2], at); err != nil {
		return credentials{}, err
	}
	if subtle.ConstantTimeCompare([]byte(signature(again.Header.Get("Authorization"))), []byte(signature(given))) == 0 {
		return credentials{}, denied
	}
	return keys, nil
}

// signature is the last part of an Authorization header.
func signature(authorization string) string {
	_, s, _ := strings.Cut(authorization, "Signature=")
	return s
}
