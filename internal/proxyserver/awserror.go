package proxyserver

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// awsError is a refusal with what AWS would call it.
type awsError struct {
	status int
	code   string
	err    error
}

func (e *awsError) Error() string { return e.err.Error() }
func (e *awsError) Unwrap() error { return e.err }

func awsInvalid(format string, args ...any) error {
	return &awsError{http.StatusBadRequest, "InvalidRequest", fmt.Errorf(format, args...)}
}

func awsDenied(format string, args ...any) error {
	return &awsError{http.StatusForbidden, "AccessDenied", fmt.Errorf(format, args...)}
}

// writeAWSError answers as the service would, so that clients show the reason. An
// error that is no awsError is one of the way to AWS.
func writeAWSError(w http.ResponseWriter, r *http.Request, service string, err error) {
	var e *awsError
	if !errors.As(err, &e) {
		e = &awsError{http.StatusBadGateway, "BadGateway", fmt.Errorf("the way to AWS: %w", err)}
		if timedOut(err) {
			e.status, e.code = http.StatusGatewayTimeout, "GatewayTimeout"
		}
	}
	type detail struct {
		Type    string `xml:",omitempty"`
		Code    string
		Message string
	}
	d := detail{Code: e.code, Message: e.Error()}
	var body any
	switch {
	case strings.HasPrefix(service, "s3") || service == "" && strings.Contains(r.Header.Get(headerForwardedHost), "s3"):
		body = struct {
			XMLName xml.Name `xml:"Error"`
			detail
		}{detail: d}
	case service == "ec2":
		body = struct {
			XMLName xml.Name `xml:"Response"`
			Error   detail   `xml:"Errors>Error"`
		}{Error: d}
	case service == "route53" || service == "cloudfront" ||
		strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		d.Type = "Sender"
		body = struct {
			XMLName xml.Name `xml:"ErrorResponse"`
			Error   detail
		}{Error: d}
	default:
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.Header().Set("X-Amzn-Errortype", e.code)
		w.WriteHeader(e.status)
		json.NewEncoder(w).Encode(map[string]string{"__type": e.code, "message": e.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.status)
	if r.Method != http.MethodHead {
		fmt.Fprint(w, xml.Header)
		xml.NewEncoder(w).Encode(body)
	}
}
