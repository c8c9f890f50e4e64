//go:build linux

package integration

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// TestKubeOtherUser: another user of the machine gets nothing from the port,
// with or without the gate in front of it, and cannot read the kubeconfig.
func TestKubeOtherUser(t *testing.T) {
	needRoot(t)
	need(t, "curl")
	kubernetes.get(t)
	for _, tt := range []struct {
		name  string
		flags []string
		curl  string // what the other user's sees
		says  string // of tshx; "" for nothing
	}{
		{"gate", nil, "", `refused a connection of user nobody \(uid 65534\); --allow-any-local-user`},
		{"certificate", []string{"--allow-any-local-user"}, "alert (handshake failure|bad certificate)", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			tr := kubeModern.get(t).loginOf(t, uidStranger)
			p := startAs(t, uidStranger, tr, append([]string{"proxy", "kube", kubeDemo}, tt.flags...)...)
			path := p.lineAfter("kubeconfig: ")
			privateFile(t, path)

			config, err := clientcmd.LoadFromFile(path)
			check(t, err)
			cluster := config.Clusters[config.Contexts[config.CurrentContext].Cluster]
			// With TLS 1.3 a client hears of it only after its own end of the handshake,
			// and may be reset before that.
			for version, sees := range map[string]string{"1.2": tt.curl, "1.3": ""} {
				p := launch(t, options{}, append(as(uidNobody), "curl", "-sS", "--insecure", "--tls-max", version,
					"--proxy", cluster.ProxyURL, cluster.Server+"/api/v1/namespaces/default")...)
				if code := p.wait(); code == 0 || p.stdout.String() != "" || !regexp.MustCompile(sees).MatchString(p.stderr.String()) {
					t.Errorf("another user, TLS %s: exit code %d, got %q, said %q", version, code, p.stdout.String(), p.stderr.String())
				}
			}
			// Root is let in, and has the certificate.
			s := kubeSession{transport: tr, config: path}
			if got := s.run(t, "get", "namespace", "default", "-o", "name"); got != "namespace/default\n" {
				t.Errorf("got %q", got)
			}
			said := p.end()
			if tt.says == "" && said != "" || tt.says != "" && !regexp.MustCompile(`\Atshx: `+tt.says+`.*\z`).MatchString(said) {
				t.Errorf("said %q", said)
			}
		})
	}
}

// privateFile checks that only its owner can read a file in a home.
func privateFile(t testing.TB, path string) {
	t.Helper()
	info, err := os.Stat(path)
	check(t, err)
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("%s has mode %o, want 600", path, mode)
	}
	p := launch(t, options{}, append(as(uidNobody), "cat", path)...)
	if code := p.wait(); code == 0 || p.stdout.String() != "" || !strings.Contains(p.stderr.String(), "Permission denied") {
		t.Errorf("another user reads %d bytes, %s", len(p.stdout.String()), p.stderr.String())
	}
}
