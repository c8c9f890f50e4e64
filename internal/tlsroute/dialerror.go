package tlsroute

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"tshx/internal/upgrade"
)

// ErrHandshakeCut says that the other side closed the connection in the middle
// of the TLS handshake, as a proxy does that knows no such route.
var ErrHandshakeCut = errors.New("the connection was closed during the handshake")

// RouteLostError says that a TLS server answered that is not the proxy, or
// that does not know the route.
type RouteLostError struct {
	Addr    string
	Offered []string
	Got     string // the negotiated protocol, empty if none
}

func (e *RouteLostError) Error() string {
	got := "no protocol"
	if e.Got != "" {
		got = fmt.Sprintf("protocol %q", e.Got)
	}
	return fmt.Sprintf("%s answered with %s to an offer of %s", e.Addr, got, strings.Join(e.Offered, ", "))
}

// TrustError says that the certificate of the TLS server that answered is not
// trusted for the address.
type TrustError struct {
	HostCert bool // the cluster's CAs were to vouch for it, not the public ones
	Err      error
}

func (e *TrustError) Error() string { return e.Err.Error() }
func (e *TrustError) Unwrap() error { return e.Err }

// ForcedError is a dial that failed on the way that the environment demands, in a
// manner that the other way might cure.
type ForcedError struct {
	Way Way
	Err error
}

func (e *ForcedError) Error() string { return e.Err.Error() }
func (e *ForcedError) Unwrap() error { return e.Err }

// Hint names the variable.
func (e *ForcedError) Hint() string {
	only := "raw TLS"
	if e.Way.Upgrade {
		only = "the connection upgrade"
	}
	return upgrade.EnvRequired + " allows only " + only + " here; unset it unless that is meant"
}

// contradicts reports whether a failed dial may mean that the way is wrong: a
// TLS or HTTP server was reached and did not behave as expected. A proxy that
// cannot be reached, or does not answer, says nothing about balancers.
func contradicts(err error) bool {
	var limited *upgrade.RefusedError
	if errors.As(err, &limited) && limited.Status == http.StatusTooManyRequests {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	var dns *net.DNSError
	var local *localError
	return !errors.As(err, &dns) && !errors.As(err, &local) && !errors.Is(err, context.DeadlineExceeded)
}

// localError is a failure before anything was dialled.
type localError struct{ error }

func (e *localError) Unwrap() error { return e.error }
