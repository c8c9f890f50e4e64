package tlsroute_test

import (
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// Names that begin with "kube." were for Kubernetes up to v14. Later they are like
// any other: that of an app, say.
func TestMuxKubeName(t *testing.T) {
	f := newMux(t, true)
	f.KubeLegacy = false
	want := outcome{"web - -", "http/1.1", "web"}
	got := f.try(t, f.serve(t, nil), clientTLS("kube.example.com", []string{"http/1.1"}, nil), nil)
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
