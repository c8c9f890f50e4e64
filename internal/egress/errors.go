package egress

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"tshx/internal/plain"
)

// ProxyError says that the forward proxy did not give a connection.
type ProxyError struct {
	Proxy    string // scheme://host:port, never with credentials
	Variable string // the environment variable that names the proxy
	Target   string // the host:port that was asked for
	Status   int    // of the answer to CONNECT; 0 when there was none
	Err      error  // the cause
}

func (e *ProxyError) Error() string {
	return fmt.Sprintf("proxy %s (from %s) to %s: %v", e.Proxy, e.Variable, e.Target, e.Err)
}

func (e *ProxyError) Unwrap() error { return e.Err }

// Hint says in one line what the user can change.
func (e *ProxyError) Hint() string {
	switch e.Status {
	case 0:
		return fmt.Sprintf("check %s, or list the host in NO_PROXY to connect directly", e.Variable)
	case http.StatusProxyAuthRequired:
		return fmt.Sprintf("the proxy wants other credentials: set %s to %s", e.Variable,
			strings.Replace(e.Proxy, "://", "://user:password@", 1))
	case http.StatusForbidden:
		return fmt.Sprintf("the proxy's rules forbid CONNECT to %s: have it allowed, or list the host in NO_PROXY", e.Target)
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Sprintf("the proxy cannot reach %s: check the address, or list the host in NO_PROXY", e.Target)
	}
	return fmt.Sprintf("%s may not be a proxy that takes CONNECT: check %s", e.Proxy, e.Variable)
}

// statusError is an answer to CONNECT other than 200.
type statusError struct {
	code int
	line string // code and reason as sent
}

func (e *statusError) Error() string { return "CONNECT was answered " + plain.Line(e.line, maxLine) }

// maxLine is the length of a quoted status line, in characters.
const maxLine = 120

func (v *via) fail(target string, err error) error {
	e := &ProxyError{Proxy: v.scheme + "://" + v.addr, Variable: v.variable, Target: target, Err: err}
	if s, ok := errors.AsType[*statusError](err); ok {
		e.Status = s.code
	}
	return e
}
