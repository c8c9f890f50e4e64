package cloudproxy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/httpbinding"

	"tshx/internal/localproxy"
	"tshx/internal/plain"
)

// Bounds of the time of a presigned URL, as AWS has them.
const (
	maxSkew    = 15 * time.Minute
	maxExpires = 7 * 24 * time.Hour
)

// Headers that tell the app about a request by an assumed role.
const (
	headerAssumedRole          = "X-Teleport-Aws-Assumed-Role"
	headerAssumedAuthorization = "X-Teleport-Aws-Assumed-Role-Authorization"
)

// Keys are a key pair of AWS that is worth something only at one local proxy.
type Keys struct {
	ID, Secret string
}

// AWSOptions configure an AWS. Only Keys is needed.
type AWSOptions struct {
	// Keys are those by which programs sign for each app, in the order of
	// Options.Apps. All must have other IDs.
	Keys []Keys
	// Endpoint is that of Options.
	Endpoint bool
	Now      func() time.Time // nil means time.Now
}

// AWS is the Cloud that has requests signed with Signature Version 4
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html). Programs
// sign with keys of this run, and the far side signs anew with those of the role,
// what was signed before.
type AWS struct {
	o       AWSOptions
	assumed assumed
}

// NewAWS returns the cloud for a Proxy.
func NewAWS(o AWSOptions) *AWS {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &AWS{o: o, assumed: assumed{now: o.Now}}
}

// Clients implements Cloud.
func (a *AWS) Clients() string { return "AWS clients" }

// Owns implements Cloud.
func (a *AWS) Owns(host, port string) bool { return ownsAWS(host, port) }

// Check implements Cloud.
func (a *AWS) Check(r *http.Request) (*Checked, error) {
	s, err := readSignature(r)
	if err != nil {
		return nil, signatureError(err)
	}
	host, err := a.host(r, s)
	if err != nil {
		return nil, err
	}
	c, ok := a.find(s.Key)
	if !ok && r.Header.Get("X-Amz-S3session-Token") != "" {
		return nil, denied("InvalidAccessKeyId", "it is signed with the keys of a session of S3 Express; "+
			"set AWS_S3_DISABLE_EXPRESS_SESSION_AUTH=true, so that it is signed with those of this local proxy")
	}
	if !ok {
		return nil, denied("InvalidAccessKeyId", "it is signed with another access key than those of this local proxy; "+
			"use the environment that it was started with, without --profile or other credentials of your own")
	}
	if err := s.timely(a.o.Now()); err != nil {
		return nil, err
	}
	if c.token != "" && s.token(r) != c.token {
		return nil, denied("InvalidClientTokenId", "the session token is not that of the assumed role")
	}
	if err := s.covers(r); err != nil {
		return nil, err
	}
	out := r.Clone(r.Context())
	payload, err := s.payload(out, c)
	if err != nil {
		return nil, err
	}
	if ok, err := s.matches(r, c, payload); err != nil || !ok {
		if err == nil {
			err = errors.New("the signature does not match; the secret access key is not that of this local proxy, or something on the way has changed the request")
		}
		return nil, denied("SignatureDoesNotMatch", err.Error())
	}
	return a.forward(out, s, c, payload, host)
}

// forward makes of a request that was verified what goes to the app.
func (a *AWS) forward(r *http.Request, s *signature, c credentials, payload, host string) (*Checked, error) {
	to := &Checked{App: c.app, Request: r, Host: host, Header: http.Header{}}
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Teleport-") { // ours to say
			r.Header.Del(name)
		}
	}
	if err := s.rewrite(r, c, payload, a.o.Now()); err != nil {
		return nil, err
	}
	if c.token == "" && s.plainPath() { // the agent signs the path as it gets it
		u := *r.URL
		u.RawPath = httpbinding.EscapePath(u.Path, false)
		r.URL = &u
	}
	if c.token != "" {
		to.Header.Set(headerAssumedRole, c.arn)
		to.Header.Set(headerAssumedAuthorization, r.Header.Get("Authorization"))
		r.Header.Del("Authorization")
	}
	if s.Service == "sts" && isSTS(host) && r.Method == http.MethodPost && !a.o.Endpoint {
		to.Response = func(res *http.Response) error { return a.assumed.remember(res, c.app) }
	}
	return to, nil
}

// host is the host of AWS that a request is for.
func (a *AWS) host(r *http.Request, s *signature) (string, error) {
	if a.o.Endpoint {
		return awsEndpoint(s.Service, strings.ToLower(s.Region), r.Header.Get("X-Amz-Target")), nil
	}
	addr, err := localproxy.Canonical(r.Host)
	if err == nil {
		if host, port, _ := net.SplitHostPort(addr); ownsAWS(host, port) {
			return r.Host, nil
		}
	}
	return "", &Error{http.StatusBadRequest, "InvalidRequest", fmt.Sprintf("%q is not a host of AWS", r.Host)}
}

// find returns the credentials with an access key id.
func (a *AWS) find(id string) (credentials, bool) {
	for i, keys := range a.o.Keys {
		if keys.ID == id {
			return credentials{id: id, secret: keys.Secret, app: i}, true
		}
	}
	return a.assumed.find(id)
}

// timely returns an error for a presigned URL that is not good at this time. Other
// requests are good whenever they were signed: their clients go by the clock of AWS,
// which its answers tell, and that may be another than ours.
func (s *signature) timely(now time.Time) error {
	if !s.Presigned {
		return nil
	}
	switch age := now.Sub(s.At); {
	case age < -maxSkew:
		return denied("RequestTimeTooSkewed", fmt.Sprintf("it was signed at %s, and it is %s: the clocks differ too much",
			s.At.Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	case age > s.Expires:
		return denied("AccessDenied", "Request has expired: this presigned URL was good until "+s.At.Add(s.Expires).Format(time.RFC3339))
	}
	return nil
}

// covers returns an error for a request that would be another one behind the check
// than what was signed.
func (s *signature) covers(r *http.Request) error {
	for _, value := range r.Header.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") { // which do not go on
			name = strings.ToLower(strings.TrimSpace(name))
			if s.signed(name) && !slices.Contains(neverSigned, http.CanonicalHeaderKey(name)) {
				return denied("SignatureDoesNotMatch", fmt.Sprintf("the header %s is signed, and said to be of the connection", plain.Line(name, maxHeaderName)))
			}
		}
	}
	if !s.Presigned {
		return nil
	}
	// It is signed anew with all of its headers. S3 says no to these in the same way.
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") && !s.signed(strings.ToLower(name)) && name != headerSHA256 && !slices.Contains(neverSigned, name) {
			return denied("AccessDenied", fmt.Sprintf("the header %s is not among those that this presigned URL was signed with", plain.Line(name, maxHeaderName)))
		}
	}
	return nil
}

// maxHeaderName is the most that is shown of a header's name, in characters.
const maxHeaderName = 80

// token is the session token of a request.
func (s *signature) token(r *http.Request) string {
	if s.Presigned {
		return r.URL.Query().Get(headerToken)
	}
	return r.Header.Get(headerToken)
}

// payload returns the value that the signature has for the body, and puts a check
// of the body in its place where that can be made on the way.
func (s *signature) payload(r *http.Request, c credentials) (string, error) {
	value := r.Header.Get(headerSHA256)
	if s.Presigned && value == "" {
		if value = r.URL.Query().Get(headerSHA256); value == "" && s.plainPath() {
			value = payloadUnsigned
		}
	}
	switch {
	case value == "":
		hash, err := readHashed(r)
		if errors.Is(err, errTooLarge) {
			err = &Error{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
				fmt.Sprintf("the body is more than %d MiB, and must be hashed as a whole", maxHashed>>20)}
		}
		return hash, err
	case value == payloadUnsigned, value == payloadUnsignedTrailer, value == payloadSigned, value == payloadSignedTrailer:
		return value, nil
	case isHash(value):
		if r.Body != nil && r.Body != http.NoBody {
			r.Body = newHashed(r, value)
		} else if value != emptySHA256 {
			return "", errPayload
		}
		return value, nil
	case strings.HasPrefix(value, "STREAMING-") && c.token != "":
		return value, nil // goes on as it is
	}
	return "", &Error{http.StatusNotImplemented, "NotImplemented", "a body that is signed piece by piece in this way cannot be signed anew on the way"}
}

// rewrite makes of a verified request one that the far side can sign anew: it knows
// signatures in headers only, and cannot sign parts of a body. One by an assumed
// role goes to AWS with the signature that it has.
func (s *signature) rewrite(r *http.Request, c credentials, payload string, now time.Time) error {
	if s.Presigned {
		s.unpresign(r, payload)
		return s.sign(r, c, payload, now, true)
	}
	if c.token != "" {
		return nil
	}
	if payload == payloadSigned || payload == payloadSignedTrailer {
		to, err := unchunk(r, s, c, payload == payloadSignedTrailer)
		if err != nil {
			return err
		}
		r.Header.Set(headerSHA256, to)
		return s.sign(r, c, to, now, false)
	}
	if r.Header.Get(headerToken) != "" { // of other credentials, which the environment had left over
		return s.sign(r, c, payload, now, false)
	}
	return nil
}

// presigning are the parameters that a signature in the query takes.
var presigning = []string{
	"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature",
	"X-Amz-Security-Token", "X-Amz-Content-Sha256",
}

// unpresign takes the signature out of the query.
func (s *signature) unpresign(r *http.Request, payload string) {
	query := r.URL.Query()
	for _, name := range presigning {
		query.Del(name)
	}
	if s.plainPath() {
		// S3 takes its headers as parameters of a presigned URL only.
		for name, values := range query {
			if strings.HasPrefix(strings.ToLower(name), "x-amz-") {
				r.Header[http.CanonicalHeaderKey(name)] = values
				query.Del(name)
			}
		}
		r.Header.Set(headerSHA256, payload)
	}
	u := *r.URL
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	r.URL = &u
}

func denied(code, text string) *Error { return &Error{http.StatusForbidden, code, text} }

// signatureError words the error of a signature that was not understood.
func signatureError(err error) *Error {
	switch {
	case errors.Is(err, errUnsigned):
		return denied("MissingAuthenticationToken", err.Error()+
			"; sign it with the access key of this local proxy, without --no-sign-request")
	case errors.Is(err, errSigV4a):
		return denied("NotImplemented", err.Error())
	}
	return denied("IncompleteSignature", err.Error())
}

var _ Cloud = (*AWS)(nil)
