package cloudproxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/smithy-go/encoding/httpbinding"
)

// matchesWire reports whether the request was signed as it is on the wire. The
// SDK's signer makes of a request what it would have sent itself, and others sign
// what it never does: a query that is not in the one form (botocore takes it as the
// caller has it), a length of 0, a tab in a header. Either way all that is sent is
// what was signed.
func (s *signature) matchesWire(r *http.Request, c credentials, payload string) bool {
	key := signingKey(s, c)
	for _, path := range s.paths(r) {
		if !s.plainPath() {
			path = httpbinding.EscapePath(path, false)
		}
		for _, query := range s.queries(r.URL) {
			sum := sha256.Sum256([]byte(s.canonical(r, payload, path, query)))
			want := hmacSHA256(key, strings.Join([]string{sigV4Algorithm, s.At.Format(sigV4Time), s.scope(), hex.EncodeToString(sum[:])}, "\n"))
			if hmac.Equal(want, s.Value) {
				return true
			}
		}
	}
	return false
}

// scope is what the signing key is for.
func (s *signature) scope() string {
	return strings.Join([]string{s.At.Format(sigV4Day), s.Region, s.Service, sigV4Terminator}, "/")
}

// canonical is the text that is signed
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
func (s *signature) canonical(r *http.Request, payload, path, query string) string {
	var headers strings.Builder
	for _, name := range s.Headers {
		values := slices.Clone(r.Header.Values(name))
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.FormatInt(r.ContentLength, 10)}
		case "transfer-encoding":
			values = slices.Clone(r.TransferEncoding)
		}
		for i, value := range values {
			values[i] = strings.Join(strings.Fields(value), " ")
		}
		headers.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	return strings.Join([]string{r.Method, path, query, headers.String(), strings.Join(s.Headers, ";"), payload}, "\n")
}

// queries are what may be signed as the query: its one form, and what is on the
// wire, both in order.
func (s *signature) queries(u *url.URL) []string {
	var one, wire [][2]string // names and values
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		name, value, _ := strings.Cut(part, "=")
		if u.RawQuery == "" || s.Presigned && name == querySignature {
			continue
		}
		wire = append(wire, [2]string{name, value})
		one = append(one, [2]string{oneForm(name), oneForm(value)})
	}
	return []string{inOrder(one), inOrder(wire)}
}

// oneForm is a part of a query as all should have it. One that cannot be read has
// been refused before.
func oneForm(part string) string {
	text, _ := url.QueryUnescape(part)
	return httpbinding.EscapePath(text, true)
}

func inOrder(pairs [][2]string) string {
	slices.SortFunc(pairs, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	text := make([]string, len(pairs))
	for i, p := range pairs {
		text[i] = p[0] + "=" + p[1]
	}
	return strings.Join(text, "&")
}
