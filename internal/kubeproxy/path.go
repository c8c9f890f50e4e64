package kubeproxy

import (
	"encoding/base64"
	"errors"
	"strings"
)

// pathStart begins the path of every request (docs/protocol.md, "Kubernetes").
const pathStart = "/v1/teleport/"

var errPath = errors.New("the path does not name a Kubernetes cluster: want " + pathStart + "CLUSTER/KUBECLUSTER/, both in base64url")

var nameEncoding = base64.RawURLEncoding.Strict()

// Prefix is what stands before the paths of a Kubernetes cluster's API. Names may
// have any length and any characters.
func Prefix(teleport, kube string) string {
	return pathStart + nameEncoding.EncodeToString([]byte(teleport)) + "/" + nameEncoding.EncodeToString([]byte(kube))
}

// ParsePath takes the prefix off an escaped path. Rest is what is left of it, and
// begins with a slash.
func ParsePath(path string) (teleport, kube, rest string, err error) {
	path, ok := strings.CutPrefix(path, pathStart)
	first, path, slash := strings.Cut(path, "/")
	second, rest, _ := strings.Cut(path, "/")
	if !ok || !slash {
		return "", "", "", errPath
	}
	for _, n := range []struct {
		name *string
		enc  string
	}{{&teleport, first}, {&kube, second}} {
		// The decoder would skip line ends.
		name, err := nameEncoding.DecodeString(n.enc)
		if err != nil || len(name) == 0 || strings.ContainsAny(n.enc, "\r\n") {
			return "", "", "", errPath
		}
		*n.name = string(name)
	}
	return teleport, kube, "/" + rest, nil
}
