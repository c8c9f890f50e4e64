package cloudproxy

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Headers by which the access proxy says why it did not let a request through
// (docs/protocol.md, "AWS").
const (
	headerAPIError = "X-Teleport-Api-Error"
	headerAPIInfo  = "X-Teleport-Api-Info"
)

// RefusedError says that the access proxy answered in place of the cloud.
type RefusedError struct {
	Status int
	Reason string // may be empty
}

func (e *RefusedError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("the access proxy wants a new login for this app (HTTP %d)", e.Status)
	}
	return fmt.Sprintf("the access proxy answered %d: %s", e.Status, e.Reason)
}

// Hint says what to do.
func (e *RefusedError) Hint() string {
	if e.Reason == "" || e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden {
		return "log in again with tsh apps login"
	}
	return ""
}

// code is the status to answer with: a redirection is to its login.
func (e *RefusedError) code() int {
	if e.Status < 400 {
		return http.StatusUnauthorized
	}
	return e.Status
}

// refusedByProxy returns an error for an answer that no cloud gives: programs
// could not make sense of it.
func refusedByProxy(res *http.Response) error {
	if reason := cmp.Or(res.Header.Get(headerAPIError), res.Header.Get(headerAPIInfo)); reason != "" && res.StatusCode >= 400 {
		return &RefusedError{res.StatusCode, reason}
	}
	if res.StatusCode < 300 || res.StatusCode >= 400 {
		return nil
	}
	to, err := url.Parse(res.Header.Get("Location"))
	if err == nil && (strings.HasPrefix(to.Path, "/web/launch") || strings.HasPrefix(to.Path, "/web/login") || strings.HasPrefix(to.Path, "/x-teleport-auth")) {
		return &RefusedError{Status: res.StatusCode}
	}
	return nil
}
