package cloudproxy

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"strings"
)

// awsCodes are the words for programs of our own errors.
var awsCodes = map[int]string{
	http.StatusUnauthorized:   "ExpiredToken",
	http.StatusBadGateway:     "BadGateway",
	http.StatusGatewayTimeout: "GatewayTimeout",
}

// WriteError implements Cloud.
func (a *AWS) WriteError(w http.ResponseWriter, r *http.Request, e *Error) {
	status, code := e.Status, e.Code
	if code == "" {
		code = awsCodes[status]
	}
	if code == "" {
		code = "AccessDenied"
	}
	if status == http.StatusUnauthorized { // which no program of AWS expects
		status = http.StatusForbidden
	}
	kind, body := awsErrorBody(r, code, e.Text)
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Amzn-Errortype", code)
	if kind == typeCBOR {
		h.Set("Smithy-Protocol", "rpc-v2-cbor")
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

const (
	typeXML  = "application/xml"
	typeCBOR = "application/cbor"
)

// awsErrorBody words an error in the protocol of the service that was asked.
func awsErrorBody(r *http.Request, code, text string) (kind string, body []byte) {
	media := r.Header.Get("Content-Type")
	service := awsServiceOf(r)
	switch {
	case r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor":
		return typeCBOR, cborError(code, text)
	case r.Header.Get("X-Amz-Target") != "" || strings.HasPrefix(media, "application/x-amz-json"):
		body, _ = json.Marshal(map[string]string{"__type": code, "message": text})
		return "application/x-amz-json-1.1", body
	case service == "ec2":
		return typeXML, xmlError(`<Response><Errors><Error>`, code, text, `</Error></Errors></Response>`)
	case strings.HasPrefix(media, "application/x-www-form-urlencoded"), service == "route53", service == "cloudfront", service == "sts":
		return typeXML, xmlError(`<ErrorResponse><Error><Type>Sender</Type>`, code, text, `</Error></ErrorResponse>`)
	case strings.HasPrefix(service, "s3"), service == "":
		return typeXML, xmlError(`<Error>`, code, text, `</Error>`)
	}
	body, _ = json.Marshal(map[string]string{"code": code, "message": text, "Message": text})
	return "application/json", body
}

// awsServiceOf is the service that a request is for, by its signature or else by
// its host; empty if neither says.
func awsServiceOf(r *http.Request) string {
	if s, err := readSignature(r); err == nil {
		return s.Service
	}
	for label := range strings.SplitSeq(r.Host, ".") {
		switch {
		case label == "s3", strings.HasPrefix(label, "s3-"):
			return "s3"
		case label == "ec2", label == "route53", label == "cloudfront", label == "sts":
			return label
		}
	}
	return ""
}

func xmlError(before, code, text, after string) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header + before + "<Code>")
	xml.EscapeText(&b, []byte(code))
	b.WriteString("</Code><Message>")
	xml.EscapeText(&b, []byte(text))
	b.WriteString("</Message>" + after)
	return b.Bytes()
}

// cborError is a map of two texts (RFC 8949, section 3.1).
func cborError(code, text string) []byte {
	b := []byte{0xa2}
	for _, s := range []string{"__type", code, "message", text} {
		s = s[:min(len(s), 1<<16-1)]
		b = binary.BigEndian.AppendUint16(append(b, 0x79), uint16(len(s)))
		b = append(b, s...)
	}
	return b
}
