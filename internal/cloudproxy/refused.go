package cloudproxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tshx/internal/httproute"
)

const (
	headerAPIError = httproute.HeaderAPIError
	headerAPIInfo  = httproute.HeaderAPIInfo // the answer is the cloud's all the same
)

// RefusedError says that the access proxy answered in place of the cloud.
type RefusedError struct {
	Status int
	Reason string // may be empty
}

func (e *RefusedError) Error() string {
	switch {
	case e.Reason != "":
		return fmt.Sprintf("the access proxy answered %d: %s", e.Status, e.Reason)
	case e.wantsLogin():
		return fmt.Sprintf("the access proxy wants a new login for this app (HTTP %d)", e.Status)
	}
	return fmt.Sprintf("the access proxy answered %d (%s)", e.Status, http.StatusText(e.Status))
}

// wantsLogin reports whether it has to do with who asks.
func (e *RefusedError) wantsLogin() bool {
	return e.Status < 400 || e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}

// Hint says what to do.
func (e *RefusedError) Hint() string {
	switch {
	case e.wantsLogin():
		return "log in again with tsh apps login"
	case e.Reason == "" && e.Status >= 500:
		return "the app's agent may be down; the access proxy's log says more"
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
	if reason := httproute.APIError(res); reason != "" && res.StatusCode >= 400 {
		return &RefusedError{res.StatusCode, reason}
	}
	if !ofCloud(res) && httproute.Bare(res) {
		return &RefusedError{Status: res.StatusCode}
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

// ofCloud reports whether an answer has the marks of a cloud's.
func ofCloud(res *http.Response) bool {
	for name := range res.Header {
		for _, mark := range []string{"X-Amz", "X-Ms-", "X-Goog", "X-Guploader"} {
			if strings.HasPrefix(name, mark) {
				return true
			}
		}
	}
	return false
}
