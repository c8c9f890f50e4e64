//go:build linux

package integration

import (
	"flag"
	"os"
	"testing"
)

var kubeGiB = flag.Bool("kube.gib", os.Getenv("CI") != "", "copy a GiB to a pod and back, which takes most of a minute")

// TestKubeCopyGiB copies a whole GiB to a pod and back. Less of it is part of
// TestKubeMatrix.
func TestKubeCopyGiB(t *testing.T) {
	if !*kubeGiB {
		t.Skip("takes long: ask for it with -kube.gib; continuous integration does")
	}
	for _, name := range []string{"raw", "websocket nginx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			s, _ := kubeProxy(t, kubeTransport(t, name), kubeDemo)
			kubeCopies(t, s, 1<<30)
		})
	}
}
