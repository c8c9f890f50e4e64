//go:build linux

package integration

import (
	"flag"
	"os"
	"testing"
)

var kubeGiB = flag.Bool("kube.gib", os.Getenv("CI") != "", "copy a GiB to a pod and back, which takes half a minute")

// TestKubeCopyGiB copies a whole GiB to a pod and back, on the way with the most
// layers. Less of it is part of TestKubeMatrix, on each way.
func TestKubeCopyGiB(t *testing.T) {
	if !*kubeGiB {
		t.Skip("takes long: ask for it with -kube.gib; continuous integration does")
	}
	nothingLeft(t)
	s, _ := kubeProxy(t, kubeTransport(t, "websocket nginx"), kubeDemo)
	kubeCopies(t, s, 1<<30)
}
