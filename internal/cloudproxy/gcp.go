package cloudproxy

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// GCPOptions configure a GCP. Secret is needed.
type GCPOptions struct {
	// Secret is what programs have for an access token.
	Secret string
}

// GCP is the Cloud in which programs send an access token. It is a secret of this
// run, and the far side puts a real one in its place (docs/protocol.md, "Azure and
// Google Cloud"). Programs that have no token at all send none, and are served as
// well: they have found this port, which is the user's alone.
type GCP struct {
	o GCPOptions
}

// NewGCP returns the cloud for a Proxy.
func NewGCP(o GCPOptions) *GCP { return &GCP{o} }

// Clients implements Cloud.
func (*GCP) Clients() string { return "Google Cloud clients" }

var gcpSuffixes = []string{"googleapis.com"}

// Owns implements Cloud.
func (*GCP) Owns(host, port string) bool { return port == "443" && within(host, gcpSuffixes) }

// Check implements Cloud.
func (g *GCP) Check(r *http.Request) (*Checked, error) {
	host := hostOf(r)
	if !within(host, gcpSuffixes) {
		return nil, &Error{http.StatusMisdirectedRequest, "INVALID_ARGUMENT", fmt.Sprintf("%s is not a host of Google Cloud", host)}
	}
	token, err := bearer(r)
	if err == nil && subtle.ConstantTimeCompare([]byte(token), []byte(g.o.Secret)) == 1 || errors.Is(err, errNoAuthorization) {
		bare := r.Clone(r.Context()) // nobody else needs the secret
		bare.Header.Del("Authorization")
		return &Checked{Host: host, Request: bare}, nil
	}
	return nil, &Error{http.StatusForbidden, "PERMISSION_DENIED",
		"its access token is not of this local proxy; use the environment that it was started with, without an account of your own"}
}

// gcpCodes are the words for programs of our own errors.
var gcpCodes = map[int]string{
	http.StatusUnauthorized:   "UNAUTHENTICATED",
	http.StatusBadGateway:     "UNAVAILABLE",
	http.StatusGatewayTimeout: "DEADLINE_EXCEEDED",
}

// WriteError implements Cloud, as https://cloud.google.com/apis/design/errors.
func (*GCP) WriteError(w http.ResponseWriter, _ *http.Request, e *Error) {
	code := cmp.Or(e.Code, gcpCodes[e.Status], "PERMISSION_DENIED")
	writeJSON(w, e.Status, map[string]any{"error": map[string]any{
		"code": e.Status, "message": e.Text, "status": code,
		"errors": []map[string]string{{"message": e.Text, "domain": "global", "reason": strings.ToLower(code)}},
	}})
}

// Errors of bearer.
var (
	errNoAuthorization = errors.New("no authorization")
	errNoBearer        = errors.New("authorization of another kind")
)

// bearer returns the token of a request (RFC 6750, section 2.1).
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", errNoAuthorization
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", errNoBearer
	}
	return strings.TrimSpace(token), nil
}

// hostOf is the host of a request, in lower case and without a port.
func hostOf(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

var _ Cloud = (*GCP)(nil)
