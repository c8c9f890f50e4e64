package main

import (
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/versity/versitygw/auth"
)

// stsServer answers AssumeRole and GetCallerIdentity as the AWS STS API
// Reference has it, to whom has signed the request. All roles of the account may
// be assumed but for one called "forbidden".
type stsServer struct{ store *store }

const (
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
	stsBodyMax   = 1 << 20
)

// stsError is an error with its code.
type stsError struct {
	status        int
	code, message string
}

func (e *stsError) Error() string { return e.message }

func (s *stsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := rand.Text()
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("x-amzn-RequestId", id)
	answer, err := s.answer(r, id)
	if err != nil {
		var e *stsError
		if !errors.As(err, &e) {
			e = &stsError{http.StatusInternalServerError, "InternalFailure", err.Error()}
		}
		w.WriteHeader(e.status)
		answer = errorResponse{Namespace: stsNamespace, Type: "Sender", Code: e.code, Message: e.message, RequestID: id}
	}
	xml.NewEncoder(w).Encode(answer)
}

type errorResponse struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Namespace string   `xml:"xmlns,attr"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

type identityResponse struct {
	XMLName   xml.Name `xml:"GetCallerIdentityResponse"`
	Namespace string   `xml:"xmlns,attr"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

type roleResponse struct {
	XMLName     xml.Name `xml:"AssumeRoleResponse"`
	Namespace   string   `xml:"xmlns,attr"`
	RoleID      string   `xml:"AssumeRoleResult>AssumedRoleUser>AssumedRoleId"`
	ARN         string   `xml:"AssumeRoleResult>AssumedRoleUser>Arn"`
	AccessKeyID string   `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	Secret      string   `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
	Token       string   `xml:"AssumeRoleResult>Credentials>SessionToken"`
	Expiration  string   `xml:"AssumeRoleResult>Credentials>Expiration"`
	RequestID   string   `xml:"ResponseMetadata>RequestId"`
}

func (s *stsServer) answer(r *http.Request, id string) (any, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, stsBodyMax))
	if err != nil {
		return nil, err
	}
	caller, err := s.verify(r, body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &stsError{http.StatusBadRequest, "MalformedQueryString", err.Error()}
	}
	if r.Method == http.MethodGet {
		form = r.URL.Query()
	}
	switch action := form.Get("Action"); action {
	case "GetCallerIdentity":
		return identityResponse{Namespace: stsNamespace, ARN: caller.ARN, UserID: caller.AccessKeyID, Account: account, RequestID: id}, nil
	case "AssumeRole":
		return s.assumeRole(caller, form, id)
	default:
		return nil, &stsError{http.StatusBadRequest, "InvalidAction", fmt.Sprintf("Could not find operation %s for version 2011-06-15", action)}
	}
}

var roleARN = regexp.MustCompile(`^arn:aws:iam::` + account + `:role/([\w+=,.@-]+)$`)

func (s *stsServer) assumeRole(caller credentials, form url.Values, id string) (any, error) {
	m := roleARN.FindStringSubmatch(form.Get("RoleArn"))
	session := form.Get("RoleSessionName")
	if m == nil || m[1] == "forbidden" {
		return nil, &stsError{http.StatusForbidden, "AccessDenied",
			fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", caller.ARN, form.Get("RoleArn"))}
	}
	if session == "" {
		return nil, &stsError{http.StatusBadRequest, "ValidationError", "RoleSessionName is missing"}
	}
	seconds := 3600
	if v := form.Get("DurationSeconds"); v != "" {
		var err error
		if seconds, err = strconv.Atoi(v); err != nil || seconds < 900 || seconds > 43200 {
			return nil, &stsError{http.StatusBadRequest, "ValidationError", "1 validation error detected: Value '" + v + "' at 'durationSeconds' failed to satisfy constraint"}
		}
	}
	c := credentials{
		AccessKeyID: "ASIA" + rand.Text()[:16], SecretAccessKey: rand.Text() + rand.Text()[:14], Token: rand.Text() + rand.Text() + "/+=",
		Expires: time.Now().Add(time.Duration(seconds) * time.Second).UTC().Truncate(time.Second),
		ARN:     "arn:aws:sts::" + account + ":assumed-role/" + m[1] + "/" + session,
	}
	s.store.put(c)
	return roleResponse{
		Namespace: stsNamespace, RoleID: "AROA" + rand.Text()[:16] + ":" + session, ARN: c.ARN,
		AccessKeyID: c.AccessKeyID, Secret: c.SecretAccessKey, Token: c.Token,
		Expiration: c.Expires.Format(time.RFC3339), RequestID: id,
	}, nil
}

// verifyError is what AWS says about a signature.
func verifyError(err error) error {
	if errors.Is(err, auth.ErrNoSuchUser) {
		return &stsError{http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid."}
	}
	return &stsError{http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired or not that of the key."}
}
