package proxyserver

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// How long the keys of a role last that are asked for (AWS STS API Reference,
// AssumeRole, DurationSeconds).
const (
	sessionDefault  = time.Hour
	sessionShortest = 15 * time.Minute
)

// Parameters of STS.
const (
	paramAction   = "Action"
	paramDuration = "DurationSeconds"
)

// limitSession has AssumeRole give no keys that outlive the client's certificate,
// by what it returns as the body and by the query. Parameters may be in either, some
// of them twice, and which ones Amazon takes then is not documented: all count.
func (c *awsCall) limitSession(out *http.Request, body []byte) ([]byte, error) {
	query := out.URL.Query()
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, awsInvalid("body: %w", err)
	}
	if !slices.Contains(slices.Concat(query[paramAction], form[paramAction]), "AssumeRole") {
		return body, nil
	}
	left := time.Until(c.notAfter).Truncate(time.Second)
	if left < sessionShortest {
		return nil, awsDenied("the client certificate is good for %v more, and AWS gives keys of a role for %v at least: log in to the app anew",
			left, sessionShortest)
	}
	longest, asked := sessionDefault, slices.Concat(query[paramDuration], form[paramDuration])
	for i, v := range asked {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return nil, awsInvalid("%s: %q", paramDuration, v)
		}
		d := time.Duration(n) * time.Second
		if longest = max(longest, d); i == 0 {
			longest = d
		}
	}
	if longest <= left {
		return body, nil
	}
	seconds := strconv.Itoa(int(left / time.Second))
	if shorten(query, seconds) {
		out.URL.RawQuery = query.Encode()
	}
	if shorten(form, seconds) {
		body = []byte(form.Encode())
	}
	return body, nil
}

// shorten sets how long keys last in parameters that ask for some, and reports
// whether it has changed anything.
func shorten(params url.Values, seconds string) bool {
	if !params.Has(paramAction) && !params.Has(paramDuration) {
		return false
	}
	params.Set(paramDuration, seconds)
	return true
}
