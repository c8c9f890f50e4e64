package proxyserver

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// How long the keys of a role last that are asked for (AWS STS API Reference,
// AssumeRole, DurationSeconds).
const (
	sessionDefault  = time.Hour
	sessionShortest = 15 * time.Minute
)

const paramDuration = "DurationSeconds"

// limitSession has AssumeRole give no keys that outlive the client's certificate,
// by what it returns as the body and by the query.
func (c *awsCall) limitSession(out *http.Request, body []byte) ([]byte, error) {
	query := out.URL.Query()
	var form url.Values
	if kind, _, _ := mime.ParseMediaType(out.Header.Get("Content-Type")); kind == "application/x-www-form-urlencoded" {
		form, _ = url.ParseQuery(string(body)) // what it is not, AWS has to say
	}
	if query.Get("Action") != "AssumeRole" && form.Get("Action") != "AssumeRole" {
		return body, nil
	}
	left := time.Until(c.notAfter).Truncate(time.Second)
	if left < sessionShortest {
		return nil, awsDenied("the client certificate is good for %v more, and AWS gives keys of a role for %v at least: log in to the app anew",
			left, sessionShortest)
	}
	asked := sessionDefault
	for _, v := range []string{query.Get(paramDuration), form.Get(paramDuration)} {
		if n, err := strconv.Atoi(v); err == nil {
			asked = time.Duration(n) * time.Second
		}
	}
	if asked <= left {
		return body, nil
	}
	seconds := strconv.Itoa(int(left / time.Second))
	if query.Get("Action") != "" {
		query.Set(paramDuration, seconds)
		out.URL.RawQuery = query.Encode()
		return body, nil
	}
	form.Set(paramDuration, seconds)
	return []byte(form.Encode()), nil
}
