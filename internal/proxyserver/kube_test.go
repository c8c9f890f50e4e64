package proxyserver

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/identity"
	"tshx/internal/tlsroute"
)

// kubeRoute is a certificate's for a Kubernetes cluster. Empty: for any.
func kubeRoute(name string) identity.Identity {
	id := identity.Identity{
		RouteToCluster: testCluster, KubeCluster: name,
		KubeUsers: []string{"kate"}, KubeGroups: []string{"dev", "ops"},
	}
	if name != "" {
		id.Usage = []string{identity.UsageKube}
	}
	return id
}

// apiServer starts a TLS server that wants a client's certificate, and returns
// how to log in there, by a certificate and a token.
func apiServer(t testing.TB, name string, h http.HandlerFunc) Kube {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: testAuthority().User.Pool()}
	s.StartTLS()
	t.Cleanup(s.Close)
	login := newUser(t).tls(identity.Identity{})
	roots := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return Kube{Name: name, Server: s.URL, Token: "s3cret", TLS: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{*login}}}
}

// asked is what an API server was asked.
type asked struct {
	Cluster, Method, URI, Auth, Body string
	User, Groups                     []string
}

// tell answers with what was asked.
func tell(cluster string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		json.NewEncoder(w).Encode(asked{
			Cluster: cluster, Method: r.Method, URI: r.RequestURI, Auth: r.Header.Get("Authorization"), Body: string(b),
			User: r.Header["Impersonate-User"], Groups: r.Header["Impersonate-Group"],
		})
	}
}

func kubeConfig(cert *tls.Certificate) *tls.Config {
	c := config(testAuthority().Host.Pool(), cert, "http/1.1")
	c.ServerName = tlsroute.KubeServerName("localhost")
	return c
}

// kubeDo makes one request by the Kubernetes route.
func (f *fixture) kubeDo(id identity.Identity, method, path, body string, h http.Header) (*http.Response, string) {
	f.t.Helper()
	tr := &http.Transport{TLSClientConfig: kubeConfig(newUser(f.t).tls(id))}
	defer tr.CloseIdleConnections()
	r, err := http.NewRequest(method, "https://"+f.addr+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	for k, v := range h {
		r.Header[k] = v
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp, string(b)
}

// kubePathOf is the form of a path that names its cluster.
func kubePathOf(teleport, kube, rest string) string {
	enc := base64.RawURLEncoding
	return "/v1/teleport/" + enc.EncodeToString([]byte(teleport)) + "/" + enc.EncodeToString([]byte(kube)) + rest
}

// Requests go to the cluster of the certificate or of the path, as the user
// that the certificate allows, and with nothing else of the client's login.
func TestKube(t *testing.T) {
	second := apiServer(t, "Second.With.Dots", tell("second"))
	second.Server, second.Token = second.Server+"/base%2Fpath/", ""
	f := start(t, Options{Kubes: []Kube{apiServer(t, "demo", tell("demo")), second}})
	with := func(edit func(*identity.Identity)) identity.Identity {
		id := kubeRoute("demo")
		edit(&id)
		return id
	}
	own := asked{Cluster: "demo", Method: "GET", URI: "/version", Auth: "Bearer s3cret", User: []string{"kate"}, Groups: []string{"dev", "ops"}}
	as := func(user string, groups ...string) asked {
		a := own
		a.User, a.Groups = []string{user}, groups
		return a
	}
	for _, tt := range []struct {
		name   string
		id     identity.Identity
		path   string
		header http.Header
		want   asked
	}{
		{"as the certificate says", kubeRoute("demo"), "/version", nil, own},
		{"asked for", kubeRoute("demo"), "/version", http.Header{"Impersonate-User": {"kate"}, "Impersonate-Group": {"ops"}}, as("kate", "ops")},
		{"no users", with(func(i *identity.Identity) { i.KubeUsers = nil }), "/version", nil, as("alice", "dev", "ops")},
		{"no groups", with(func(i *identity.Identity) { i.KubeGroups = nil }), "/version", nil, as("kate")},
		{"any, none asked for", with(func(i *identity.Identity) { i.KubeUsers, i.KubeGroups = []string{"*"}, []string{"*"} }), "/version", nil, as("alice")},
		{"any", with(func(i *identity.Identity) { i.KubeUsers, i.KubeGroups = []string{"*"}, []string{"*"} }), "/version",
			http.Header{"Impersonate-User": {"bob"}, "Impersonate-Group": {"a", "b"}}, as("bob", "a", "b")},
		{"one of several", with(func(i *identity.Identity) { i.KubeUsers = []string{"kate", "kim"} }), "/version",
			http.Header{"Impersonate-User": {"kim"}}, as("kim", "dev", "ops")},
		{"own login", kubeRoute("demo"), "/version", http.Header{"Authorization": {"Bearer mine"}}, own},
		{"hop-by-hop", kubeRoute("demo"), "/version", http.Header{"Connection": {"Impersonate-User, Impersonate-Group, Authorization"}}, own},
		{"path", kubeRoute(""), kubePathOf(testCluster, "demo", "/version"), nil, own},
		{"path and certificate", kubeRoute("demo"), kubePathOf(testCluster, "demo", "/version"), nil, own},
		{"path, base path, as it was", kubeRoute(""), kubePathOf(testCluster, "Second.With.Dots", "/a%2Fb/c?x=1;y=%zz"), http.Header{"Authorization": {"Bearer mine"}},
			asked{Cluster: "second", Method: "GET", URI: "/base%2Fpath/a%2Fb/c?x=1;y=%zz", User: own.User, Groups: own.Groups}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.t = t
			resp, body := f.kubeDo(tt.id, "GET", tt.path, "", tt.header)
			var got asked
			if err := json.Unmarshal([]byte(body), &got); err != nil || resp.StatusCode != 200 {
				t.Fatalf("%s %q: %v", resp.Status, body, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	f.t = t
	if _, body := f.kubeDo(kubeRoute("demo"), "POST", "/api", "some body", nil); !strings.Contains(body, `"Body":"some body"`) {
		t.Errorf("POST: %q", body)
	}
}

// Whatever is refused is so with a Status, and the server behind hears nothing.
func TestKubeRefuses(t *testing.T) {
	reached := func(http.ResponseWriter, *http.Request) { t.Error("the API server was asked") }
	f := start(t, Options{Kubes: []Kube{apiServer(t, "demo", reached), {Name: "down", Server: "https://127.0.0.1:1"}}})
	with := func(edit func(*identity.Identity)) identity.Identity {
		id := kubeRoute("demo")
		edit(&id)
		return id
	}
	for _, tt := range []struct {
		name   string
		id     identity.Identity
		path   string
		header http.Header
		code   int
		reason string
		want   string
	}{
		{"no users and groups", with(func(i *identity.Identity) { i.KubeUsers, i.KubeGroups = nil, nil }), "/", nil, 403, "Forbidden", "names no kubernetes users and no groups"},
		{"user", kubeRoute("demo"), "/", http.Header{"Impersonate-User": {"root"}}, 403, "Forbidden", `may not be the kubernetes user "root"`},
		{"no user", kubeRoute("demo"), "/", http.Header{"Impersonate-User": {""}}, 403, "Forbidden", `may not be the kubernetes user ""`},
		{"two users", kubeRoute("demo"), "/", http.Header{"Impersonate-User": {"kate", "kate"}}, 403, "Forbidden", "one user"},
		{"group", kubeRoute("demo"), "/", http.Header{"Impersonate-Group": {"dev", "system:masters"}}, 403, "Forbidden", `group "system:masters"`},
		{"any is no name", with(func(i *identity.Identity) { i.KubeUsers = []string{"*"} }), "/", http.Header{"Impersonate-User": {"*"}}, 403, "Forbidden", `user "*"`},
		{"uid", kubeRoute("demo"), "/", http.Header{"Impersonate-Uid": {"0"}}, 403, "Forbidden", "Impersonate-Uid"},
		{"extra", kubeRoute("demo"), "/", http.Header{"Impersonate-Extra-Scopes": {"all"}}, 403, "Forbidden", "Impersonate-Extra-Scopes"},
		{"several users", with(func(i *identity.Identity) { i.KubeUsers = []string{"a", "b"} }), "/", nil, 403, "Forbidden", "--as"},
		{"upgrade", kubeRoute("demo"), "/", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}, "Impersonate-User": {"root"}}, 403, "Forbidden", "root"},
		{"no users and groups, no cluster", identity.Identity{}, "/version", nil, 403, "Forbidden", "names no kubernetes users and no groups"},
		{"database", with(func(i *identity.Identity) { *i = dbRoute("orders", "redis"); i.Usage = []string{identity.UsageDB} }), "/", nil, 403, "Forbidden", "usage:db"},
		{"database without usage", dbRoute("orders", "redis"), kubePathOf(testCluster, "demo", "/"), nil, 403, "Forbidden", "names no kubernetes users and no groups"},
		{"wrong usage", with(func(i *identity.Identity) { i.Usage = []string{identity.UsageDB} }), "/", nil, 403, "Forbidden", "usage:db"},
		{"other cluster by path", kubeRoute("demo"), kubePathOf(testCluster, "down", "/"), nil, 403, "Forbidden", `opens the kubernetes cluster "demo", not "down"`},
		{"unknown cluster", kubeRoute("dmeo"), "/", nil, 404, "NotFound", "no such kubernetes cluster"},
		{"unknown cluster by path", kubeRoute(""), kubePathOf(testCluster, "x", "/"), nil, 404, "NotFound", "no such kubernetes cluster"},
		{"leaf", with(func(i *identity.Identity) { i.RouteToCluster = "leaf.example.com" }), "/", nil, 404, "NotFound", "leaf.example.com"},
		{"leaf by path", kubeRoute(""), kubePathOf("leaf.example.com", "demo", "/"), nil, 404, "NotFound", "leaf.example.com"},
		{"no cluster", kubeRoute(""), "/version", nil, 400, "BadRequest", "neither the certificate nor the path"},
		{"broken path", kubeRoute(""), "/v1/teleport/!!/ZGVtbw/", nil, 400, "BadRequest", "the path does not name"},
		{"padded path", kubeRoute(""), "/v1/teleport/YQ==/ZGVtbw/", nil, 400, "BadRequest", "the path does not name"},
		{"short path", kubeRoute(""), "/v1/teleport/ZGVtbw", nil, 400, "BadRequest", "the path does not name"},
		{"server is down", with(func(i *identity.Identity) { i.KubeCluster = "down" }), "/", nil, 502, "BadGateway", `kubernetes cluster "down"`},
		{"server is down, upgrade", with(func(i *identity.Identity) { i.KubeCluster = "down" }), "/",
			http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}}, 502, "BadGateway", `kubernetes cluster "down"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.t = t
			resp, body := f.kubeDo(tt.id, "GET", tt.path, "", tt.header)
			var got struct {
				Kind, APIVersion, Status, Message, Reason string
				Code                                      int
			}
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			if !strings.Contains(got.Message, tt.want) {
				t.Errorf("message %q, want %q", got.Message, tt.want)
			}
			got.Message = ""
			want := got
			want.Kind, want.APIVersion, want.Status, want.Reason, want.Code = "Status", "v1", "Failure", tt.reason, tt.code
			if diff := cmp.Diff(want, got); diff != "" || resp.StatusCode != tt.code || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %v %s", resp.Status, resp.Header, diff)
			}
		})
	}
}

// Who shows no certificate, or one of other authorities, gets no further than
// the handshake; and the host certificate is there without an upgrade, too.
func TestKubeHandshake(t *testing.T) {
	f := start(t, Options{Kubes: []Kube{apiServer(t, "demo", tell("demo"))}})
	stranger, err := testAuthority().WebCertificate("alice")
	if err != nil {
		t.Fatal(err)
	}
	for name, cert := range map[string]*tls.Certificate{"none": nil, "stranger": &stranger, "alice": newUser(t).tls(kubeRoute("demo"))} {
		cfg := kubeConfig(cert)
		cfg.NextProtos = []string{"h2", "http/1.1"}
		c, err := tls.Dial("tcp", f.addr, cfg)
		if err == nil {
			if p := c.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
				t.Errorf("%s: negotiated %q", name, p)
			}
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			_, err = io.ReadAll(c)
			c.Close()
		}
		if (err == nil) != (name == "alice") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKubeOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"both":   {Kubes: []Kube{{Name: "a", Server: "https://a"}}, KubeAddr: "127.0.0.1:1"},
		"no url": {Kubes: []Kube{{Name: "a", Server: "localhost:1"}}},
	} {
		o.Authority = testAuthority()
		if s, err := New(o); err == nil {
			s.Close()
			t.Errorf("%s: started", name)
		}
	}
	f := start(t, Options{Kubes: []Kube{{Name: "a", Server: "https://a"}}})
	if _, body := get(t, f.client(nil), "https://"+f.addr+"/webapi/find"); !strings.Contains(body, `"kube":{"enabled":true`) {
		t.Errorf("the web API does not announce Kubernetes: %s", body)
	}
}
