package cloudproxy

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"tshx/internal/tlsroute"
)

// agent stands at the far end of an app: it has seen the last request.
type agent struct {
	server *httptest.Server
	seen   chan *http.Request
	bodies chan string
}

func newAgent(t *testing.T) *agent {
	a := &agent{seen: make(chan *http.Request, 1), bodies: make(chan string, 1)}
	a.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		a.bodies <- string(b)
		a.seen <- r
		w.Write([]byte("from the cloud"))
	}))
	t.Cleanup(a.server.Close)
	return a
}

// Dial implements tlsroute.RouteDialer.
func (a *agent) Dial(context.Context, tlsroute.Route) (net.Conn, error) {
	return net.Dial("tcp", a.server.Listener.Addr().String())
}

// throughProxy returns a client that knows no more than the environment tells.
func throughProxy(t *testing.T, cloud Cloud, dialer tlsroute.RouteDialer) *http.Client {
	t.Helper()
	direct := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("not here") }
	p, err := New(Options{Cloud: cloud, Apps: []App{{Name: "app"}}, Dialer: dialer, Direct: direct})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.ServeConn(context.Background(), c)
		}
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.CA())
	tr := &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: ln.Addr().String()}),
		TLSClientConfig: &tls.Config{RootCAs: roots},
	}
	t.Cleanup(func() { tr.CloseIdleConnections(); ln.Close(); p.Close() })
	return &http.Client{Transport: tr}
}

// ask makes a request and returns status and body.
func ask(t *testing.T, c *http.Client, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

func appCertificate(t *testing.T, key crypto.Signer) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func ecdsaKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

const (
	testIdentity = "/subscriptions/1/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/me"
	testMSI      = "https://" + AzureMSIHost + "/the-secret"
	testResource = "https://management.core.windows.net/"
)

// A program that asks for a token and uses it gets to the app, which is told by
// the key of its certificate what for, also after a new login.
func TestAzureToken(t *testing.T) {
	first, second := ecdsaKey(t, elliptic.P256()), ecdsaKey(t, elliptic.P256())
	cert := appCertificate(t, first)
	a := newAgent(t)
	cloud := NewAzure(AzureOptions{Secret: "the-secret", Identity: testIdentity, Certificate: func() (*tls.Certificate, error) { return cert, nil }})
	c := throughProxy(t, cloud, a)

	tt := tokenRequests[0]
	got := askToken(t, c, tt.method, tt.url, tt.field, strings.ToUpper(testIdentity), tt.header)
	token := got["access_token"]
	if claims := claimsOf(t, token); claims.Tenant == "" || claims.Audience != testResource || !strings.EqualFold(claims.Identity, testIdentity) {
		t.Errorf("the token says %+v", claims)
	}
	for _, key := range []*ecdsa.PrivateKey{first, second} {
		cert = appCertificate(t, key)
		res, body := ask(t, c, "PUT", "https://management.azure.com/x?y=z", "a body", "Authorization", "Bearer "+token, "X-Forwarded-Host", "evil")
		if res.StatusCode != http.StatusOK || body != "from the cloud" {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		if b := <-a.bodies; b != "a body" {
			t.Errorf("the app got %q", b)
		}
		r := <-a.seen
		if r.Host != "management.azure.com" || r.Header.Get("X-Forwarded-Host") != "management.azure.com" || len(r.Header.Values("X-Forwarded-Host")) != 1 {
			t.Errorf("the app is told %q, %q", r.Host, r.Header)
		}
		told, _ := bearer(r)
		if told == token {
			t.Error("the program's own token got out")
		}
		claims := claimsOf(t, told)
		if !verifies(&key.PublicKey, told) || claims.Resource != testResource || claims.Tenant == "" || claims.Ends != cert.Leaf.NotAfter.Unix() {
			t.Errorf("the app cannot verify %s, or it says %+v", told, claims)
		}
	}
}

func claimsOf(t *testing.T, token string) (c azureClaims) {
	t.Helper()
	b, err := base64URL.DecodeString(strings.Split(token+"..", ".")[1])
	if err != nil || json.Unmarshal(b, &c) != nil {
		t.Fatalf("no token: %q", token)
	}
	return c
}

// verifies checks a token as agents do.
func verifies(public crypto.PublicKey, token string) bool {
	i := strings.LastIndexByte(token, '.')
	signature, err := base64URL.DecodeString(token[i+1:])
	if err != nil {
		return false
	}
	digest := sha256.Sum256([]byte(token[:i]))
	switch k := public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(k, []byte(token[:i]), signature)
	case *ecdsa.PublicKey:
		half := len(signature) / 2
		return len(signature) == 64 && ecdsa.Verify(k, digest[:], new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]))
	}
	return false
}

func TestJWTKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for alg, key := range map[string]crypto.Signer{"RS256": rsaKey, "EdDSA": edKey, "ES256": ecdsaKey(t, elliptic.P256())} {
		for range 50 { // numbers with leading zeros among them
			token, err := signJWT(key, azureClaims{Resource: "r"})
			if err != nil || !verifies(key.Public(), token) {
				t.Fatalf("%s: %q, %v", alg, token, err)
			}
			if head, err := base64URL.DecodeString(strings.Split(token, ".")[0]); err != nil || string(head) != `{"alg":"`+alg+`","typ":"JWT"}` {
				t.Fatalf("%s: %s, %v", alg, head, err)
			}
			if alg == "RS256" {
				break
			}
		}
	}
	for curve, size := range map[elliptic.Curve]int{elliptic.P384(): 96, elliptic.P521(): 132} {
		token, err := signJWT(ecdsaKey(t, curve), azureClaims{})
		if err != nil {
			t.Fatal(err)
		}
		if signature, err := base64URL.DecodeString(token[strings.LastIndexByte(token, '.')+1:]); err != nil || len(signature) != size {
			t.Errorf("%s: %d bytes, %v", curve.Params().Name, len(signature), err)
		}
	}
	if _, err := signJWT(ecdsaKey(t, elliptic.P224()), azureClaims{}); err == nil {
		t.Error("no such algorithm")
	}
}

func TestAzureRefused(t *testing.T) {
	cert := appCertificate(t, ecdsaKey(t, elliptic.P256()))
	now := time.Now()
	cloud := NewAzure(AzureOptions{Secret: "the-secret", Identity: testIdentity, Certificate: func() (*tls.Certificate, error) { return cert, nil },
		Now: func() time.Time { return now }})
	other := NewAzure(AzureOptions{Secret: "the-secret", Certificate: cloud.o.Certificate})
	made := func(a *Azure, ends time.Time) string {
		token, err := signHMAC(a.key, azureClaims{Resource: testResource, Ends: ends.Unix()})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	none, err := unsignedJWT("none", azureClaims{Resource: testResource, Ends: now.Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	byKey, err := signJWT(cert.PrivateKey, azureClaims{Resource: testResource, Ends: now.Add(time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t)
	c := throughProxy(t, cloud, a)
	form := "resource=" + testResource
	for _, tt := range []struct {
		name, method, url, body string
		header                  []string
		status                  int
		says                    string
	}{
		{"no metadata header", "POST", testMSI, form, nil, 400, "Metadata: true"},
		{"wrong secret", "POST", testMSI + "x", form, []string{"Metadata", "true"}, 404, "secret"},
		{"no resource", "POST", testMSI, "", []string{"Metadata", "true"}, 400, "resource"},
		{"no token", "GET", "https://management.azure.com/", "", nil, 401, "AuthenticationFailed"},
		{"another kind", "GET", "https://x.blob.core.windows.net/", "", []string{"Authorization", "SharedKey x:y"}, 401, "<Code>AuthenticationFailed</Code>"},
		{"of another run", "GET", "https://management.azure.com/", "", []string{"Authorization", made(other, now.Add(time.Hour))}, 401, "InvalidAuthenticationToken"},
		{"unsigned", "GET", "https://management.azure.com/", "", []string{"Authorization", "Bearer " + none + "."}, 401, "InvalidAuthenticationToken"},
		{"by the certificate's key", "GET", "https://management.azure.com/", "", []string{"Authorization", "Bearer " + byKey}, 401, "InvalidAuthenticationToken"},
		{"no token at all", "GET", "https://management.azure.com/", "", []string{"Authorization", "Bearer x"}, 401, "InvalidAuthenticationToken"},
		{"ended", "GET", "https://management.azure.com/", "", []string{"Authorization", made(cloud, now)}, 401, "ExpiredAuthenticationToken"},
	} {
		header := append([]string{"Content-Type", "application/x-www-form-urlencoded"}, tt.header...)
		res, body := ask(t, c, tt.method, tt.url, tt.body, header...)
		if res.StatusCode != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s: %d %s", tt.name, res.StatusCode, body)
		}
	}
	if res, _ := ask(t, c, "GET", "https://v.vault.azure.net/", ""); !strings.Contains(res.Header.Get("WWW-Authenticate"), `resource="https://vault.azure.net"`) {
		t.Errorf("a key vault says %q", res.Header)
	}
	if len(a.seen) > 0 {
		t.Error("something got to the app")
	}
}

// An identity has one tenant for programs, whatever the run: they remember it.
func TestAzureTenant(t *testing.T) {
	one, again, other := NewAzure(AzureOptions{Identity: "a"}), NewAzure(AzureOptions{Identity: "a"}), NewAzure(AzureOptions{Identity: "b"})
	if one.tenant != again.tenant || one.tenant == other.tenant || len(one.tenant) != 36 {
		t.Errorf("%s, %s, %s", one.tenant, again.tenant, other.tenant)
	}
}

func TestTokenCloudsOwn(t *testing.T) {
	azure, gcp := NewAzure(AzureOptions{}), NewGCP(GCPOptions{})
	for host, want := range map[string][2]bool{
		"management.azure.com": {true, false}, AzureMSIHost: {true, false}, AzureIdentityHost: {true, false}, "v.vault.azure.net": {true, false}, "x.blob.core.windows.net": {true, false},
		"graph.microsoft.com": {true, false}, "login.microsoftonline.com": {}, "login.windows.net": {}, "dev.azure.com": {}, "downloads.bicep.azure.com": {},
		"azcliprod.blob.core.windows.net": {}, "notazure.com": {},
		"storage.googleapis.com": {false, true}, "googleapis.com": {false, true}, "evilgoogleapis.com": {}, "accounts.google.com": {},
		"googleapis.com.example.com": {},
	} {
		if got := [2]bool{azure.Owns(host, "443"), gcp.Owns(host, "443")}; got != want {
			t.Errorf("%s: %v", host, got)
		}
		if azure.Owns(host, "1433") || gcp.Owns(host, "22") {
			t.Errorf("%s: other ports lead to servers of one's own", host)
		}
	}
}
