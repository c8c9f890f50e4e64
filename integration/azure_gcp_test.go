//go:build linux

package integration

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/lab"
	"tshx/internal/profile"
)

// tokenAgent stands for the agents of Azure and Google Cloud apps and for the
// clouds behind them: it remembers what it was asked by path, and answers with
// the checksum of the body, or, as Cloud Storage, with a list of buckets.
type tokenAgent struct {
	mu   sync.Mutex
	seen map[string]*http.Request
}

func (a *tokenAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	io.Copy(sum, r.Body)
	a.mu.Lock()
	a.seen[r.URL.Path] = r
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if strings.HasPrefix(r.URL.Path, "/storage/v1/b") {
		io.WriteString(w, `{"kind":"storage#buckets","items":[{"kind":"storage#bucket","id":"bucket-1","name":"bucket-1"}]}`)
		return
	}
	fmt.Fprintf(w, "%x", sum.Sum(nil))
}

func (a *tokenAgent) of(t testing.TB, path string) *http.Request {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen[path] == nil {
		t.Fatalf("nothing has asked for %s", path)
	}
	return a.seen[path]
}

var tokenCloud = share(func() (*tokenAgent, error) {
	return &tokenAgent{seen: map[string]*http.Request{}}, nil
})

const (
	azureApp      = "azure-dev"
	gcpApp        = "gcp-dev"
	azureIdentity = "/subscriptions/1/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/dev"
	gcpAccount    = "robot@project-1.iam.gserviceaccount.com"
)

// tokenApps start a cluster with one app of each cloud, and one that is none.
func tokenApps(name, behave string) *shared[*cluster] {
	return cloudCluster(name, behave, tokenCloud, func(uri string) []lab.App {
		return []lab.App{
			{Name: azureApp, URI: uri, AzureIdentity: azureIdentity},
			{Name: gcpApp, URI: uri, GCPServiceAccount: gcpAccount},
			{Name: "page", URI: uri},
		}
	})
}

// cloudCluster starts a cluster with apps that are one server.
func cloudCluster[S http.Handler](name, behave string, server *shared[S], apps func(uri string) []lab.App) *shared[*cluster] {
	return share(func() (*cluster, error) {
		h, err := server.load()
		if err != nil {
			return nil, err
		}
		s := httptest.NewServer(h)
		atExit(s.Close)
		c := lab.Config{Cluster: name, Behave: behave, Apps: apps(s.URL)}
		l, err := lab.Start(context.Background(), c)
		if err != nil {
			return nil, err
		}
		atExit(func() { l.Close() })
		cl := &cluster{lab: l, config: c, direct: loopback(l.Addr)}
		return cl, cl.writeCA()
	})
}

// cloudWays are those to a cluster, and to an old one.
func cloudWays(modern, old *shared[*cluster]) []named {
	return []named{
		{"raw", "raw", share(way{cluster: modern}.build)},
		{"websocket nginx", "websocket", share(way{cluster: modern, front: peer.Balancer.Nginx}.build)},
		{"legacy nginx", "legacy", share(way{cluster: old, front: peer.Balancer.Nginx}.build)},
		{"layer 4", "websocket", share(way{cluster: modern, front: peer.Balancer.HAProxyTCP}.build)},
	}
}

var (
	tokensModern = tokenApps("cloud.tshx.test", "v17")
	tokensOld    = tokenApps("oldcloud.tshx.test", "v14")
)

var tokenWays = cloudWays(tokensModern, tokensOld)

// tokenUser is a program that knows the environment of a local proxy and nothing
// else.
type tokenUser struct {
	*program
	env    map[string]string
	client *http.Client
}

// startTokens runs `tshx proxy azure` or `gcp` and reads what it prints.
func startTokens(t testing.TB, tr *transport, args ...string) *tokenUser {
	t.Helper()
	u := &tokenUser{program: tr.start(t, append(append([]string{"proxy"}, args...), "--format", "text")...), env: map[string]string{}}
	u.lineAfter("https_proxy=") // the last
	for _, l := range lines(u.stdout.String()) {
		if name, value, ok := strings.Cut(l, "="); ok {
			u.env[name] = value
		}
	}
	bundle := u.env["REQUESTS_CA_BUNDLE"]
	if bundle == "" {
		bundle = u.env["CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"]
	}
	pem, err := os.ReadFile(bundle)
	check(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	proxy, err := url.Parse(u.env["HTTPS_PROXY"])
	check(t, err)
	own := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(own.CloseIdleConnections)
	u.client = &http.Client{Transport: own}
	return u
}

// ask sends a request and returns the answer.
func (u *tokenUser) ask(method, url string, body io.Reader, header ...string) (int, string) {
	u.t.Helper()
	r, err := http.NewRequest(method, url, body)
	check(u.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := u.client.Do(r)
	check(u.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	check(u.t, err)
	return res.StatusCode, string(text)
}

// token asks for one as az does.
func (u *tokenUser) token() string {
	u.t.Helper()
	status, text := u.ask("POST", u.env["MSI_ENDPOINT"], strings.NewReader("resource=https://management.core.windows.net/"),
		"Metadata", "true", "Content-Type", "application/x-www-form-urlencoded")
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || status != http.StatusOK {
		u.t.Fatalf("no token: %d %s", status, text)
	}
	return got.Token
}

// upload sends many bytes and compares what the far end has made of them.
func (u *tokenUser) upload(url string, header ...string) {
	u.t.Helper()
	const size = 64 << 20
	sum := sha256.New()
	r, w := io.Pipe()
	go func() {
		_, err := io.CopyN(io.MultiWriter(w, sum), rand.Reader, size)
		w.CloseWithError(err)
	}()
	status, text := u.ask("PUT", url, r, header...)
	if want := fmt.Sprintf("%x", sum.Sum(nil)); status != http.StatusOK || text != want {
		u.t.Errorf("status %d, the far end has %s, want %s", status, text, want)
	}
}

// TestTokenClouds: Azure and Google Cloud apps on every way to the proxy, as a
// program, curl and the clouds' own programs use them.
func TestTokenClouds(t *testing.T) {
	for _, tt := range tokenWays {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			own := "/" + strings.ReplaceAll(tt.name, " ", "-")
			t.Run("azure", func(t *testing.T) {
				t.Parallel()
				nothingLeft(t)
				tr := tt.get(t)
				u := startTokens(t, tr, "azure")
				token := u.token()
				u.upload("https://management.azure.com"+own+"/azure", "Authorization", "Bearer "+token)
				told := tokenCloud.get(t).of(t, own+"/azure")
				if told.Header.Get("X-Forwarded-Host") != "management.azure.com" || told.Header.Get("Authorization") == "Bearer "+token {
					t.Errorf("the app is told %q", told.Header)
				}
				verifyToken(t, tr, told)
				if status, text := u.ask("GET", "https://management.azure.com/", nil, "Authorization", "Bearer x"); status != http.StatusUnauthorized || !strings.Contains(text, "InvalidAuthenticationToken") {
					t.Errorf("a foreign token: %d %s", status, text)
				}
				u.endsClean(t, "connection to Azure app .* failed")
			})
			t.Run("gcp", func(t *testing.T) {
				t.Parallel()
				nothingLeft(t)
				u := startTokens(t, tt.get(t), "gcloud", "--app", gcpApp)
				secret := "Bearer " + u.env["CLOUDSDK_AUTH_ACCESS_TOKEN"]
				u.upload("https://storage.googleapis.com"+own+"/gcp", "Authorization", secret)
				told := tokenCloud.get(t).of(t, own+"/gcp")
				if told.Header.Get("X-Forwarded-Host") != "storage.googleapis.com" || told.Header.Get("Authorization") != "" {
					t.Errorf("the app is told %q", told.Header)
				}
				if u.env["CLOUDSDK_CORE_PROJECT"] != "project-1" {
					t.Errorf("the project is %q", u.env["CLOUDSDK_CORE_PROJECT"])
				}
				if status, text := u.ask("GET", "https://storage.googleapis.com/", nil, "Authorization", secret+"x"); status != http.StatusForbidden || !strings.Contains(text, "PERMISSION_DENIED") {
					t.Errorf("a foreign token: %d %s", status, text)
				}
				u.endsClean(t, "connection to Google Cloud app .* failed")
			})
			t.Run("curl", func(t *testing.T) {
				t.Parallel()
				need(t, "curl")
				nothingLeft(t)
				tr := tt.get(t)
				ask := `get() { curl -sSf --cacert "$REQUESTS_CA_BUNDLE" "$@"; }
T=$(get -H Metadata:true -d resource=https://vault.azure.net "$MSI_ENDPOINT" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
get -H "Authorization: Bearer $T" "https://v.vault.azure.net` + own + `/curl" && exit 7`
				p := launch(t, tr.options(), tshxPath, "proxy", "az", "--", "sh", "-c", ask)
				if code := p.wait(); code != 7 || p.stderr.String() != "" {
					t.Errorf("exit code %d: %s", code, p.stderr.String())
				}
				verifyToken(t, tr, tokenCloud.get(t).of(t, own+"/curl"))
			})
			for _, program := range []struct {
				name string
				args []string
			}{{"gcloud", []string{"storage", "ls"}}, {"gsutil", []string{"ls"}}} {
				t.Run(program.name, func(t *testing.T) {
					t.Parallel()
					// It is no package of Debian's, so CI need not have it.
					if _, err := exec.LookPath(program.name); err != nil {
						t.Skip(err)
					}
					nothingLeft(t)
					if got := execute(t, tt.get(t).options(), append([]string{tshxPath, program.name}, program.args...)...); got != "gs://bucket-1/\n" {
						t.Errorf("got %q", got)
					}
				})
			}
		})
	}
}

// endsClean ends a listener that has something to say about requests that it
// refused.
func (u *tokenUser) endsClean(t *testing.T, says string) {
	t.Helper()
	u.client.CloseIdleConnections()
	u.signal(syscall.SIGTERM)
	if code := u.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	said := slices.DeleteFunc(lines(u.stderr.String()), func(l string) bool { return strings.Contains(l, "draining ") })
	oneLine(t, strings.Join(said, "\n"), says)
	for _, name := range []string{"REQUESTS_CA_BUNDLE", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", "BOTO_CONFIG"} {
		if _, err := os.Stat(u.env[name]); u.env[name] != "" && err == nil {
			t.Errorf("%s is left behind", u.env[name])
		}
	}
}

// verifyToken checks what an agent of Azure apps checks: that the token is signed
// by the key of the certificate that the user has for the app.
func verifyToken(t testing.TB, tr *transport, r *http.Request) {
	t.Helper()
	p, err := profile.Load(profile.Options{Dir: tr.home})
	check(t, err)
	cert, err := p.AppCert(azureApp)
	check(t, err)
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no token: %q", token)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	check(t, err)
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	ok := false
	switch k := cert.Leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil
	case *ecdsa.PublicKey:
		ok = len(signature) == 64 && ecdsa.Verify(k, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	if !ok {
		t.Error("the token is not signed by the app's key")
	}
}

// TestTokenCloudsMistakes: one line, and the exit code.
func TestTokenCloudsMistakes(t *testing.T) {
	expiredLogin := func(t *testing.T, tr *transport) {
		other, err := tokensModern.get(t).login(tr.addr, lab.HomeOptions{TTL: -time.Hour})
		check(t, err)
		*tr = *other
	}
	for _, tt := range []struct {
		name, args string
		spoil      func(t *testing.T, tr *transport)
		code       int
		says       string
	}{
		{"of another cloud", "proxy azure --app " + gcpApp, nil, codeUsage, `not the API of Azure; use: tshx proxy gcp --app gcp-dev`},
		{"no cloud", "proxy gcp --app page", nil, codeUsage, `not the API of Google Cloud; use: tshx proxy app page`},
		{"unknown", "proxy azure --app nosuch", nil, codeLogin, `"nosuch".*tsh apps login`},
		{"expired", "proxy azure", expiredLogin, codeLogin, `certificate expired .* ago.*tsh apps login`},
		{"expired, run", "gcloud storage ls", expiredLogin, codeLogin, `expired .* ago.*tsh apps login`},
		{"two commands", "proxy gcp --exec sh -- true", nil, codeUsage, `--exec sh.*--`},
		{"socket", "proxy azure --listen /tmp/x.sock", nil, codeUsage, `--listen.*socket`},
		{"bad format", "proxy azure --format athena-jdbc", nil, codeUsage, `--format`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			tr := *tokenWays[0].get(t)
			if tt.spoil != nil {
				tt.spoil(t, &tr)
			}
			o := tr.options()
			if strings.HasPrefix(tt.args, "gcloud") { // whether it is installed or not
				dir := t.TempDir()
				check(t, os.WriteFile(filepath.Join(dir, "gcloud"), []byte("#!/bin/sh\n"), 0o700))
				o.env = append(slices.Clone(o.env), "PATH="+dir+":"+os.Getenv("PATH"))
			}
			p := launch(t, o, append([]string{tshxPath}, strings.Fields(tt.args)...)...)
			if code := p.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			oneLine(t, p.stderr.String(), tt.says)
		})
	}
}

// TestTokenCloudsRelogin: a certificate that has expired since is said in the
// cloud's form, and a new login heals it without a restart and without a new
// token.
func TestTokenCloudsRelogin(t *testing.T) {
	nothingLeft(t)
	c := tokensModern.get(t)
	tr, err := c.login(tokenWays[0].get(t).addr, lab.HomeOptions{})
	check(t, err)
	u := startTokens(t, tr, "azure")
	token := "Bearer " + u.token()
	check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{TTL: -time.Hour, FreshKey: true}))
	status, text := u.ask("GET", "https://management.azure.com/relogin", nil, "Authorization", token)
	if status != http.StatusUnauthorized || !strings.Contains(text, "ExpiredAuthenticationToken") || !strings.Contains(text, "tsh apps login") {
		t.Errorf("an expired certificate: %d %s", status, text)
	}
	check(t, c.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{FreshKey: true}))
	if status, text = u.ask("GET", "https://management.azure.com/relogin", nil, "Authorization", token); status != http.StatusOK {
		t.Errorf("after a new login: %d %s", status, text)
	}
	verifyToken(t, tr, tokenCloud.get(t).of(t, "/relogin"))
	u.signal(syscall.SIGTERM)
	if code := u.wait(); code != 0 {
		t.Errorf("exit code %d: %s", code, u.stderr.String())
	}
}
