package tlsroute_test

import (
	"strings"
	"testing"

	"tshx/internal/tlsroute"
)

func TestParseKubePath(t *testing.T) {
	for _, tt := range []struct {
		name, path, teleport, kube, rest string // no kube: an error
	}{
		{"documented form", "/v1/teleport/cmVhbC5leGFtcGxlLmNvbQ/cmVhbGt1YmU/api/v1", "real.example.com", "realkube", "/api/v1"},
		{"nothing behind it", "/v1/teleport/cmVhbA/aw", "real", "k", "/"},
		{"slash behind it", "/v1/teleport/cmVhbA/aw/", "real", "k", "/"},
		{"kept as it is", "/v1/teleport/cmVhbA/aw//a/../b%2Fc/", "real", "k", "//a/../b%2Fc/"},
		{"both special characters", "/v1/teleport/Pz8_/Pj4-/x", "???", ">>>", "/x"},
		{name: "empty", path: "/"},
		{name: "no prefix", path: "/api/v1/pods"},
		{name: "one name", path: "/v1/teleport/cmVhbA"},
		{name: "empty kube cluster", path: "/v1/teleport/cmVhbA//api"},
		{name: "empty cluster", path: "/v1/teleport//aw/api"},
		{name: "padding", path: "/v1/teleport/cmVhbA==/aw/api"},
		{name: "standard base64", path: "/v1/teleport/Pz8//aw/api"},
		{name: "escaped", path: "/v1/teleport/cmVhbA%3D/aw/api"},
		{name: "bits left over", path: "/v1/teleport/cmVhbB/aw/api"},
		{name: "line end", path: "/v1/teleport/cmVh\nbA/aw/api"},
		{name: "other case", path: "/V1/teleport/cmVhbA/aw/api"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			teleport, kube, rest, err := tlsroute.ParseKubePath(tt.path)
			if teleport != tt.teleport || kube != tt.kube || rest != tt.rest || (err != nil) != (tt.kube == "") {
				t.Errorf("%q %q %q %v", teleport, kube, rest, err)
			}
		})
	}
}

func FuzzParseKubePath(f *testing.F) {
	f.Add("/v1/teleport/cmVhbA/aw/api")
	f.Add("/v1/teleport/cmVh\nbA/aw")
	f.Fuzz(func(t *testing.T, path string) {
		teleport, kube, rest, err := tlsroute.ParseKubePath(path)
		if err != nil {
			return
		}
		if again := tlsroute.KubePathOf(teleport, kube) + rest; again != path && again != path+"/" {
			t.Errorf("%q became %q", path, again)
		}
		if !strings.HasPrefix(rest, "/") {
			t.Errorf("rest %q", rest)
		}
	})
}
