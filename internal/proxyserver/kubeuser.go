package proxyserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"tshx/internal/identity"
)

// Headers by which a request is made as another user. All that begin with the
// prefix are of that kind.
const (
	impersonatePrefix = "Impersonate-"
	impersonateUser   = "Impersonate-User"
	impersonateGroup  = "Impersonate-Group"
)

// anyKube in a certificate allows any name. It is never itself a name.
const anyKube = "*"

// impersonate returns the headers of a request that make it one of the user and
// groups it asks for, or else of those in the certificate, which names some
// (docs/protocol.md, "Kubernetes").
func impersonate(id identity.Identity, h http.Header) (http.Header, error) {
	for name := range h {
		if strings.HasPrefix(name, impersonatePrefix) && name != impersonateUser && name != impersonateGroup {
			return nil, forbidden("%s is not allowed to anybody here", name)
		}
	}
	user, err := kubeUser(id, h.Values(impersonateUser))
	if err != nil {
		return nil, err
	}
	groups := h.Values(impersonateGroup)
	for _, g := range groups {
		if !allowed(id.KubeGroups, g) {
			return nil, forbidden("%q may not be in the kubernetes group %q", id.User, g)
		}
	}
	if len(groups) == 0 {
		groups = named(id.KubeGroups)
	}
	as := http.Header{impersonateUser: {user}}
	if len(groups) > 0 {
		as[impersonateGroup] = groups
	}
	return as, nil
}

// kubeUser chooses the user. A certificate without users means the user of the
// cluster itself.
func kubeUser(id identity.Identity, asked []string) (string, error) {
	may := id.KubeUsers
	if len(named(may)) == 0 {
		may = append(slices.Clone(may), id.User)
	}
	switch own := named(may); {
	case len(asked) > 1:
		return "", forbidden("a request is made as one user, not as %d", len(asked))
	case len(asked) == 1 && !allowed(may, asked[0]):
		return "", forbidden("%q may not be the kubernetes user %q", id.User, asked[0])
	case len(asked) == 1:
		return asked[0], nil
	case len(own) > 1:
		return "", forbidden("%q may be one of several kubernetes users: choose with --as", id.User)
	default:
		return own[0], nil
	}
}

func allowed(names []string, name string) bool {
	return name != "" && name != anyKube && (slices.Contains(names, name) || slices.Contains(names, anyKube))
}

// named returns names without the one that allows any.
func named(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == anyKube })
}

// kubeError is an error with the code it is answered with.
type kubeError struct {
	code int
	error
}

func (e *kubeError) Unwrap() error { return e.error }

func forbidden(format string, a ...any) error {
	return &kubeError{http.StatusForbidden, fmt.Errorf(format, a...)}
}

// kubeReasons are words of the Kubernetes API for codes.
var kubeReasons = map[int]string{
	http.StatusBadRequest:     "BadRequest",
	http.StatusForbidden:      "Forbidden",
	http.StatusNotFound:       "NotFound",
	http.StatusBadGateway:     "BadGateway", // ours
	http.StatusGatewayTimeout: "Timeout",
}

// writeStatus answers with an error in the form of a Kubernetes API server. One
// without a code is that of the server behind.
func writeStatus(w http.ResponseWriter, err error) {
	code := http.StatusBadGateway
	var coded *kubeError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &coded):
		code = coded.code
	case errors.As(err, &timeout) && timeout.Timeout():
		code = http.StatusGatewayTimeout
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": struct{}{}, "status": "Failure",
		"message": err.Error(), "reason": kubeReasons[code], "code": code,
	})
}
