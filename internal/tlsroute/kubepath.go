package tlsroute

import (
	"encoding/base64"
	"errors"
	"strings"
)

// KubePath begins the paths that name their Kubernetes cluster (docs/protocol.md,
// "Kubernetes").
const KubePath = "/v1/teleport/"

var errKubePath = errors.New("the path does not name a Kubernetes cluster: want " + KubePath + "CLUSTER/KUBECLUSTER/, both in base64url")

var kubeNames = base64.RawURLEncoding.Strict()

// KubePathOf is what stands before the paths of a Kubernetes cluster's API. Names may
// have any length and any characters.
func KubePathOf(teleport, kube string) string {
	return KubePath + kubeNames.EncodeToString([]byte(teleport)) + "/" + kubeNames.EncodeToString([]byte(kube))
}

// ParseKubePath takes the prefix off an escaped path. Rest is what is left of it, and
// begins with a slash.
func ParseKubePath(path string) (teleport, kube, rest string, err error) {
	path, ok := strings.CutPrefix(path, KubePath)
	first, path, slash := strings.Cut(path, "/")
	second, rest, _ := strings.Cut(path, "/")
	if !ok || !slash {
		return "", "", "", errKubePath
	}
	for _, n := range []struct {
		name *string
		enc  string
	}{{&teleport, first}, {&kube, second}} {
		// The decoder would skip line ends.
		name, err := kubeNames.DecodeString(n.enc)
		if err != nil || len(name) == 0 || strings.ContainsAny(n.enc, "\r\n") {
			return "", "", "", errKubePath
		}
		*n.name = string(name)
	}
	return teleport, kube, "/" + rest, nil
}
