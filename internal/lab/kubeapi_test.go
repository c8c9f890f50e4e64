package lab

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ask sends one request, with headers as "Name: value".
func ask(t *testing.T, method, url string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer t0ken")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
		if value == "" {
			req.Header.Del(name)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestKubeAPI(t *testing.T) {
	s := httptest.NewServer((&kubeAPI{token: "t0ken", started: time.Now()}).handler())
	defer s.Close()
	const asTable = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	for _, tt := range []struct {
		method, path string
		headers      []string
		code         int
		want         string // a regular expression
	}{
		{"GET", "/version", nil, 200, `"gitVersion":"v1\.`},
		{"GET", "/api/v1/namespaces", nil, 200, `"items":\[.*"name":"default".*"name":"demo".*"kind":"NamespaceList"`},
		{"GET", "/api/v1/namespaces", []string{asTable}, 200, `"cells":\["default","Active","\d+s"\].*"cells":\["demo","Active"`},
		{"GET", "/api/v1/namespaces?fieldSelector=metadata.name%3Ddemo", []string{asTable}, 200, `"rows":\[{"cells":\["demo",[^[]*\]`},
		{"GET", "/api/v1/namespaces?fieldSelector=metadata.name%3Dnone", nil, 200, `"items":\[\]`},
		{"GET", "/api/v1/namespaces?fieldSelector=status.phase%3DActive", nil, 400, `"reason":"BadRequest"`},
		{"GET", "/api/v1/namespaces?labelSelector=a", nil, 400, `"reason":"BadRequest"`},
		{"GET", "/api/v1/namespaces/demo", nil, 200, `^{"apiVersion":"v1","kind":"Namespace","metadata":{.*"name":"demo"`},
		{"GET", "/api/v1/namespaces/none", nil, 404, `namespaces \\"none\\" not found","metadata":{},"reason":"NotFound","status":"Failure"`},
		{"GET", "/api/v1/pods", nil, 200, `"items":\[\],"kind":"PodList"`},
		{"GET", "/api/v1/namespaces/demo/pods", nil, 200, `"items":\[\],"kind":"PodList"`},
		{"GET", "/api/v1/nodes", nil, 404, `no /api/v1/nodes`},
		{"DELETE", "/api/v1/namespaces/demo", nil, 405, `"code":405,.*can only be read`},
		{"GET", "/version", []string{"Authorization: "}, 401, `"reason":"Unauthorized"`},
		{"GET", "/version", []string{"Authorization: ", "Authorization: Bearer x"}, 401, `"reason":"Unauthorized"`},
		{"POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", nil, 201, `{"groups":\["system:masters","system:authenticated"\],"username":"lab"}`},
		{"POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", []string{"Impersonate-User: bob", "Impersonate-Group: a", "Impersonate-Group: b"}, 201,
			`{"groups":\["a","b","system:authenticated"\],"username":"bob"}`},
	} {
		resp := ask(t, tt.method, s.URL+tt.path, tt.headers...)
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != tt.code || !regexp.MustCompile(tt.want).Match(b) || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %q: %d %s, %v; want %d %s", tt.method, tt.path, tt.headers, resp.StatusCode, b, err, tt.code, tt.want)
		}
	}
}

// A watch says at once what its parameters ask for, and then stays open until its
// time is over.
func TestKubeAPIWatch(t *testing.T) {
	for _, tt := range []struct {
		query, accept string
		want          []string
	}{
		{"watch=1", "", []string{"ADDED Namespace", "ADDED Namespace"}},
		{"watch=true&resourceVersion=0&fieldSelector=metadata.name%3Ddemo", "application/json;as=Table", []string{"ADDED Table"}},
		{"watch=true&resourceVersion=1", "", nil},
		{"watch=true&resourceVersion=1&sendInitialEvents=true", "", []string{"ADDED Namespace", "ADDED Namespace", "BOOKMARK Namespace"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := &kubeAPI{started: time.Now()}
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/api/v1/namespaces?timeoutSeconds=300&"+tt.query, nil)
			r.Header.Set("Accept", tt.accept)
			k.list(w, r)
			if took := time.Since(k.started); took != 5*time.Minute || !w.Flushed {
				t.Errorf("%s: took %s, flushed %v", tt.query, took, w.Flushed)
			}
			var got []string
			for d := json.NewDecoder(w.Body); ; {
				var event struct {
					Type   string
					Object struct{ Kind string }
				}
				err := d.Decode(&event)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v", tt.query, err)
				}
				got = append(got, event.Type+" "+event.Object.Kind)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s: %s", tt.query, diff)
			}
		})
	}
}

// The built-in cluster is reached as the user of the login, and a watch through
// the proxy does not keep the lab from ending.
func TestBuiltinKube(t *testing.T) {
	l, err := Start(t.Context(), Demo())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h := writeHome(t, l, l.Addr, HomeOptions{})
	cert := func() (*tls.Certificate, error) { return h.KubeCert("demo") }
	watch := h.kube(t, cert, "GET", "/api/v1/namespaces?watch=true")
	if line, err := bufio.NewReader(watch).ReadString('\n'); err != nil || !strings.Contains(line, `"ADDED"`) {
		t.Errorf("%q, %v", line, err)
	}
	b, err := io.ReadAll(h.kube(t, cert, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews"))
	if want := `{"groups":["system:masters","system:authenticated"],"username":"alice"}`; err != nil || !strings.Contains(string(b), want) {
		t.Errorf("%s, %v", b, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(watch); err == nil {
		t.Errorf("the watch ended in order, with %q", b)
	}
}

// Kubectl gets on with it.
func TestKubeAPIKubectl(t *testing.T) {
	path, err := exec.LookPath("kubectl")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("no kubectl")
	}
	if err != nil {
		t.Fatal(err)
	}
	k := &kubeAPI{token: "t0ken", started: time.Now()}
	s := httptest.NewTLSServer(k.handler()) // to others kubectl shows no token
	defer s.Close()
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"apiVersion": "v1", "kind": "Config", "current-context": "k",
"contexts": [{"name": "k", "context": {"cluster": "k", "user": "k"}}],
"clusters": [{"name": "k", "cluster": {"server": %q, "insecure-skip-tls-verify": true}}], "users": [{"name": "k", "user": {"token": %q}}]}`, s.URL, k.token), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"version"}, `Server Version: v1\.`},
		{[]string{"api-resources"}, `(?m)^namespaces +ns +v1 +false +Namespace`},
		{[]string{"get", "namespaces"}, `^NAME +STATUS +AGE\ndefault +Active +\d+s\ndemo +Active +\d+s\n$`},
		{[]string{"get", "ns", "demo", "-o", "yaml"}, `(?m)^  name: demo$`},
		{[]string{"get", "ns", "demo", "-w", "--request-timeout", "1s"}, `^NAME +STATUS +AGE\ndemo +Active +\d+s\n`},
		{[]string{"auth", "whoami", "--as", "bob", "--as-group", "dev"}, `Username +bob\nGroups +\[dev system:authenticated\]`},
		{[]string{"get", "ns", "none"}, `Error from server \(NotFound\): namespaces "none" not found`},
		{[]string{"get", "pods"}, `^No resources found in default namespace\.`},
		{[]string{"get", "nodes"}, `the server doesn't have a resource type "nodes"`},
		{[]string{"create", "namespace", "x"}, `can only be read|does not allow this method`},
	} {
		cmd := exec.CommandContext(t.Context(), path, tt.args...)
		cmd.Env = []string{"KUBECONFIG=" + config, "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if !regexp.MustCompile(tt.want).Match(out) {
			t.Errorf("kubectl %s: %s", strings.Join(tt.args, " "), out)
		}
	}
}
