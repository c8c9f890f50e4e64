package kubeproxy_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// kubectl returns a function that runs the real one with a kubeconfig for the
// local proxy.
func (w *world) kubectl() func(args ...string) (out string, ok bool) {
	t := w.t
	path, err := exec.LookPath("kubectl")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("no kubectl")
	}
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.StdEncoding.EncodeToString
	a := w.Proxy.Access()
	config := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"apiVersion": "v1", "kind": "Config", "current-context": "k",
"contexts": [{"name": "k", "context": {"cluster": "k", "user": "k"}}],
"clusters": [{"name": "k", "cluster": {"server": %q, "tls-server-name": %q, "proxy-url": "http://%s", "certificate-authority-data": %q}}],
"users": [{"name": "k", "user": {"client-certificate-data": %q, "client-key-data": %q}}]}`,
		w.Proxy.URL(0), w.Proxy.ServerName(0), w.Addr, enc(a.CA), enc(a.Cert), enc(a.Key)), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (string, bool) {
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Env = []string{"KUBECONFIG=" + config, "HOME=" + t.TempDir()}
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), err == nil
	}
}

func TestKubectl(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, r.RequestURI)
	}, nil)
	kubectl := w.kubectl()
	if out, ok := kubectl("get", "--raw", "/api/v1/pods?limit=2"); !ok || out != "/api/v1/pods?limit=2" {
		t.Errorf("%s", out)
	}

	const renew = `kube cluster "kube" certificate expired 3 hours ago; run: tsh kube login kube`
	w.fail(errors.New(renew))
	for _, args := range [][]string{{"get", "--raw", "/version"}, {"get", "pods"}, {"exec", "pod", "--", "ls"}, {"version"}} {
		if out, ok := kubectl(args...); ok || !strings.Contains(out, renew) {
			t.Errorf("%s: %s", args, out)
		}
	}
	w.fail(nil)
	if out, ok := kubectl("get", "--raw", "/healed"); !ok || out != "/healed" {
		t.Errorf("%s", out)
	}

	w.cert.Store(userCert(t)) // no connection is kept
	dial := &net.OpError{Op: "dial", Err: errors.New("connection refused by nobody")}
	w.failDial(dial)
	for _, args := range [][]string{{"get", "--raw", "/version"}, {"get", "pods"}} {
		if out, ok := kubectl(args...); ok || !strings.Contains(out, dial.Error()) {
			t.Errorf("%s: %s", args, out)
		}
	}
}
