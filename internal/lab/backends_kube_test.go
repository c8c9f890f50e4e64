package lab

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/identity"
	"tshx/internal/profile"
	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
)

// apiServer starts a TLS server that answers with who asks for what, and writes
// two contexts of a kubeconfig for it to dir: one with all in files beside it,
// which is the current one, and one with all inside.
func apiServer(t testing.TB, dir string) (kubeconfig string) {
	t.Helper()
	ca, err := proxyserver.NewAuthority("kubernetes", proxyserver.ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		admin := "nobody"
		if certs := r.TLS.PeerCertificates; len(certs) > 0 {
			admin = certs[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s, %s%s, as %s of %s", r.RequestURI, admin, r.Header.Get("Authorization"),
			r.Header.Get("Impersonate-User"), r.Header["Impersonate-Group"])
	}))
	s.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.User.Pool()}
	s.StartTLS()
	t.Cleanup(s.Close)
	key, err := proxyserver.NewKey(proxyserver.ECDSA)
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.IssueTLS(proxyserver.UserRequest{
		Public: key.Public(), Identity: identity.Identity{User: "admin"}, NotAfter: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := marshalKey(key, false)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, b []byte) string {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(b)
	}
	block := func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	caData := file("ca.crt", block(s.Certificate().Raw))
	certData, keyData := file("admin.crt", block(der)), file("admin.key", keyPEM)
	file("token", []byte("s3cret\n"))
	file("config", []byte(`apiVersion: v1
kind: Config
current-context: files
clusters:
- name: files
  cluster: {server: "`+s.URL+`", certificate-authority: ca.crt}
- name: inside
  cluster: {server: "`+s.URL+`", certificate-authority-data: `+caData+`, tls-server-name: example.com}
- name: untrusted
  cluster: {server: "`+s.URL+`", insecure-skip-tls-verify: true}
users:
- name: files
  user: {client-certificate: admin.crt, client-key: admin.key}
- name: inside
  user: {client-certificate-data: `+certData+`, client-key-data: `+keyData+`}
- name: tokenfile
  user: {tokenFile: token}
- name: exec
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: x, interactiveMode: Never}}
- name: half
  user: {client-certificate: admin.crt}
contexts:
- {name: files, context: {cluster: files, user: files}}
- {name: inside, context: {cluster: inside, user: inside}}
- {name: token, context: {cluster: untrusted, user: tokenfile}}
- {name: exec, context: {cluster: files, user: exec}}
- {name: half, context: {cluster: files, user: half}}
- {name: lost, context: {cluster: nowhere, user: files}}
`))
	return filepath.Join(dir, "config")
}

// kubeGet asks the API server through the proxy with one certificate.
func (h *client) kubeGet(t testing.TB, cert func() (*tls.Certificate, error), path string) string {
	t.Helper()
	b, err := io.ReadAll(h.kube(t, cert, "GET", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// kube is the body of the answer.
func (h *client) kube(t testing.TB, cert func() (*tls.Certificate, error), method, path string) io.Reader {
	t.Helper()
	r := tlsroute.Route{
		Name: "kube", ALPN: []string{tlsroute.ALPNHTTP1}, ServerName: tlsroute.KubeServerName(h.WebAddr), HostCert: true, Certificate: cert,
	}
	tr := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return h.dialer.Dial(ctx, r) }}
	t.Cleanup(tr.CloseIdleConnections)
	req, err := http.NewRequest(method, "https://kube"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp.Body
}

// A login opens the clusters of all contexts, directly and through a balancer,
// in both layouts.
func TestKube(t *testing.T) {
	path := apiServer(t, t.TempDir())
	c := Config{Balancer: &Balancer{}}
	want := map[string]string{"demo": "admin", "Data.In.File": "admin", "token": "nobodyBearer s3cret"}
	for name, context := range map[string]string{"demo": "", "Data.In.File": "inside", "token": "token"} {
		c.Kube = append(c.Kube, Kube{Name: name, Kubeconfig: path, Context: context})
	}
	l := start(t, c)
	for _, layout := range []profile.Layout{profile.LayoutV13, profile.LayoutV17} {
		for _, addr := range []string{l.Addr, l.BalancerAddr} {
			h := writeHome(t, l, addr, HomeOptions{Layout: layout})
			for name, admin := range want {
				got := h.kubeGet(t, func() (*tls.Certificate, error) { return h.KubeCert(name) }, "/version")
				if want := "/version, " + admin + ", as alice of [system:masters]"; got != want {
					t.Errorf("layout %d at %s: %q, want %q", layout, addr, got, want)
				}
			}
			b64 := base64.RawURLEncoding.EncodeToString
			got := h.kubeGet(t, h.TLSCert, "/v1/teleport/"+b64([]byte(h.Cluster))+"/"+b64([]byte("demo"))+"/api")
			if want := "/api, admin, as alice of [system:masters]"; got != want {
				t.Errorf("by path: %q, want %q", got, want)
			}
		}
	}
}

// The files hold what the client's own reader expects, and what the options say.
func TestKubeHome(t *testing.T) {
	c := Demo()
	c.Kube = []Kube{{Name: "demo", Kubeconfig: apiServer(t, t.TempDir())}}
	c.KubeUsers = []string{"*"}
	l := start(t, c)
	for _, tt := range []struct {
		name          string
		o             HomeOptions
		users, groups []string
	}{
		{"as configured", HomeOptions{}, []string{"*"}, []string{"system:masters"}},
		{"v13", HomeOptions{Layout: profile.LayoutV13}, []string{"*"}, []string{"system:masters"}},
		{"others", HomeOptions{KubeUsers: []string{"bob"}, KubeGroups: []string{"dev"}}, []string{"bob"}, []string{"dev"}},
		{"none", HomeOptions{KubeUsers: []string{}, KubeGroups: []string{}}, nil, nil},
	} {
		h := writeHome(t, l, l.Addr, tt.o)
		cert, err := h.KubeCert("demo")
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		id, err := identity.FromCertificate(cert.Leaf)
		if err != nil || id.KubeCluster != "demo" || !cmp.Equal(id.Usage, []string{identity.UsageKube}) ||
			!cmp.Equal(id.KubeUsers, tt.users) || !cmp.Equal(id.KubeGroups, tt.groups) {
			t.Errorf("%s: %+v, %v", tt.name, id, err)
		}
		if names, err := h.Kubes(); err != nil || !cmp.Equal(names, []string{"demo"}) {
			t.Errorf("%s: %q, %v", tt.name, names, err)
		}
	}
	for _, layout := range []profile.Layout{profile.LayoutV13, profile.LayoutV17} {
		var ce *profile.CertError
		_, err := writeHome(t, l, l.Addr, HomeOptions{Layout: layout, Mismatch: true}).KubeCert("demo")
		if !errors.As(err, &ce) || ce.Problem != profile.Mismatch {
			t.Errorf("mismatch, layout %d: %v", layout, err)
		}
	}
	path := filepath.Join(t.TempDir(), "identity")
	if err := l.WriteIdentityFile(path, HomeOptions{Kube: "demo"}); err != nil {
		t.Fatal(err)
	}
	h := openHome(t, l, profile.Options{IdentityFile: path, Proxy: l.Addr, Now: time.Now, Getenv: func(string) string { return "" }})
	if _, err := h.KubeCert("demo"); err != nil {
		t.Error(err)
	}
	if err := l.WriteIdentityFile(path, HomeOptions{Kube: "nothing"}); !errors.Is(err, proxyserver.ErrUnknownKube) {
		t.Errorf("error %v", err)
	}
}

// A kubeconfig that is of no use ends the start with one line that says why.
func TestKubeErrors(t *testing.T) {
	dir := t.TempDir()
	path := apiServer(t, dir)
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("a: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	proxied := filepath.Join(dir, "proxied")
	text := "current-context: c\ncontexts: [{name: c, context: {cluster: far}}]\nclusters: [{name: far, cluster: {server: \"https://10.0.0.1\", proxy-url: \"http://127.0.0.1:1\"}}]\n"
	if err := os.WriteFile(proxied, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ file, context, want string }{
		{filepath.Join(dir, "nothing"), "", "nothing: "},
		{broken, "", "broken"},
		{path, "elsewhere", `has no context "elsewhere"`},
		{path, "lost", `context "lost": has no cluster "nowhere"`},
		{path, "exec", `user "exec": a lab logs in with a certificate or a token only`},
		{path, "half", `user "half": tls:`},
		{proxied, "", `cluster "far": has a proxy-url, and a lab dials directly`},
	} {
		_, err := Kube{Name: "demo", Kubeconfig: tt.file, Context: tt.context}.backend()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "kube demo: ") {
			t.Errorf("%v, want one line with %q", err, tt.want)
		}
	}
	for _, file := range []string{broken, proxied} {
		kube := []Kube{{Name: "demo", Kubeconfig: file}}
		if l, err := Start(t.Context(), Config{Kube: kube}); err == nil {
			l.Close()
			t.Errorf("started with %s", file)
		}
		var cfg AgentConfig
		cfg.Kube = kube
		_, stop, err := cfg.services(slog.New(slog.DiscardHandler))
		if stop(); err == nil {
			t.Errorf("an agent serves %s", file)
		}
	}
	if _, err := (Kube{Name: "demo", Kubeconfig: proxied}).Load(); err != nil {
		t.Errorf("who has its own way: %v", err)
	}
}
