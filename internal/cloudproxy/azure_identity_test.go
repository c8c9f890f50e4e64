package cloudproxy

import (
	"crypto/elliptic"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const testIdentityEndpoint = "https://" + AzureIdentityHost

// tokenRequests are the requests for a token as programs make them.
var tokenRequests = []struct {
	name, method, url, field string
	header                   []string
}{
	{"az before 2.73", "POST", testMSI, "msi_res_id", []string{"Metadata", "true", "Content-Type", "application/x-www-form-urlencoded"}},
	{"newer az", "GET", testIdentityEndpoint, "mi_res_id", []string{"Metadata", "true", "X-IDENTITY-HEADER", "the-secret"}},
	{"libraries", "GET", testIdentityEndpoint, "mi_res_id", []string{"X-IDENTITY-HEADER", "the-secret"}},
	{"old field", "GET", testIdentityEndpoint, "msi_res_id", []string{"X-IDENTITY-HEADER", "the-secret"}},
}

// askToken asks for a token as an identity, or as any if it is empty.
func askToken(t *testing.T, c *http.Client, method, to, field, identity string, header []string) map[string]string {
	t.Helper()
	form := url.Values{"resource": {testResource}}
	if identity != "" {
		form.Set(field, identity)
	}
	body := form.Encode()
	if method == "GET" {
		to, body = to+"?api-version=2019-08-01&"+body, ""
	}
	res, text := ask(t, c, method, to, body, header...)
	var got map[string]string
	if err := json.Unmarshal([]byte(text), &got); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", res.StatusCode, text)
	}
	return got
}

// By either endpoint programs get what is good for the app. A token for another
// identity is good for nothing, which is said where all versions of az show it.
func TestAzureEndpoints(t *testing.T) {
	cert := appCertificate(t, ecdsaKey(t, elliptic.P256()))
	for _, tt := range tokenRequests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAgent(t)
			cloud := NewAzure(AzureOptions{Secret: "the-secret", Identity: testIdentity, Certificate: func() (*tls.Certificate, error) { return cert, nil }})
			c := throughProxy(t, cloud, a)
			for identity, status := range map[string]int{"": 200, strings.ToUpper(testIdentity): 200, "another": http.StatusForbidden} {
				got := askToken(t, c, tt.method, tt.url, tt.field, identity, tt.header)
				if got["token_type"] != "Bearer" || got["resource"] != testResource || got["expires_on"] == "" || got["expires_in"] == "" {
					t.Errorf("got %v", got)
				}
				res, body := ask(t, c, "GET", "https://management.azure.com/", "", "Authorization", "Bearer "+got["access_token"])
				if res.StatusCode != status {
					t.Errorf("as %q: %d %s", identity, res.StatusCode, body)
				}
				if status == 200 {
					<-a.bodies
					<-a.seen
				} else if !strings.Contains(body, "AuthorizationFailed") || !strings.Contains(body, testIdentity) || !strings.Contains(body, "tsh apps login") {
					t.Errorf("as %q: %s", identity, body)
				}
			}
		})
	}
}

// Without a good certificate programs get a token, which says nothing, and at
// their request why it is not done: az does not show what endpoints say.
func TestAzureWithoutCertificate(t *testing.T) {
	ended := errors.New("certificate expired 3m ago; run: tsh apps login")
	cloud := NewAzure(AzureOptions{Secret: "the-secret", Certificate: func() (*tls.Certificate, error) { return nil, ended }})
	a := newAgent(t)
	c := throughProxy(t, cloud, a)
	tt := tokenRequests[0]
	token := askToken(t, c, tt.method, tt.url, tt.field, "", tt.header)["access_token"]
	res, body := ask(t, c, "GET", "https://management.azure.com/", "", "Authorization", "Bearer "+token)
	if res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "ExpiredAuthenticationToken") || !strings.Contains(body, ended.Error()) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	if len(a.seen) > 0 {
		t.Error("something got to the app")
	}
}

// A token lasts as long as a real one, whatever the certificate does meanwhile: a
// program that has one need not ask again after a new login.
func TestAzureTokenLife(t *testing.T) {
	now := time.Now()
	cert := appCertificate(t, ecdsaKey(t, elliptic.P256())) // good for an hour
	cloud := NewAzure(AzureOptions{Secret: "the-secret", Certificate: func() (*tls.Certificate, error) { return cert, nil }, Now: func() time.Time { return now }})
	a := newAgent(t)
	c := throughProxy(t, cloud, a)
	tt := tokenRequests[0]
	token := askToken(t, c, tt.method, tt.url, tt.field, "", tt.header)["access_token"]
	for after, status := range map[time.Duration]int{2 * time.Hour: http.StatusOK, azureTokenLife: http.StatusUnauthorized} {
		now = now.Add(after)
		if res, body := ask(t, c, "GET", "https://management.azure.com/", "", "Authorization", "Bearer "+token); res.StatusCode != status {
			t.Errorf("after %v: %d %s", after, res.StatusCode, body)
		}
		now = now.Add(-after)
	}
}

// The endpoints refuse in words that all readers find.
func TestAzureEndpointsRefuse(t *testing.T) {
	c := throughProxy(t, NewAzure(AzureOptions{Secret: "the-secret"}), newAgent(t))
	for _, tt := range []struct {
		name, url string
		header    []string
		status    int
		says      string
	}{
		{"no secret", testIdentityEndpoint + "?resource=r", []string{"Metadata", "true"}, 404, "secret"},
		{"wrong secret", testIdentityEndpoint + "?resource=r", []string{"X-IDENTITY-HEADER", "the-secreT"}, 404, "secret"},
		{"secret in the path", testIdentityEndpoint + "/the-secret?resource=r", []string{"Metadata", "true"}, 404, "secret"},
		{"no resource", testIdentityEndpoint, []string{"X-IDENTITY-HEADER", "the-secret"}, 400, "resource"},
		{"secret in the header", "https://" + AzureMSIHost + "/?resource=r", []string{"Metadata", "true", "X-IDENTITY-HEADER", "the-secret"}, 404, "secret"},
		{"from a page", testMSI + "?resource=r", nil, 400, "Metadata"},
	} {
		res, body := ask(t, c, "GET", tt.url, "", tt.header...)
		var said struct {
			Error, Message string
			Description    string `json:"error_description"`
			StatusCode     int    `json:"statusCode"`
		}
		if err := json.Unmarshal([]byte(body), &said); err != nil || res.StatusCode != tt.status || said.StatusCode != tt.status || said.Error == "" ||
			!strings.Contains(said.Message, tt.says) || said.Description != said.Message {
			t.Errorf("%s: %d %s", tt.name, res.StatusCode, body)
		}
	}
}

// Programs of key vaults ask first what a token is to be for. That is no failure.
func TestAzureVaults(t *testing.T) {
	cloud := NewAzure(AzureOptions{Secret: "the-secret"})
	for host, resource := range map[string]string{
		"v.vault.azure.net": "https://vault.azure.net", "v.managedhsm.azure.net": "https://managedhsm.azure.net",
		"v.vault.azure.cn": "https://vault.azure.cn", "v.vault.usgovcloudapi.net": "https://vault.usgovcloudapi.net",
	} {
		r := httptest.NewRequest("GET", "https://"+host+"/secrets/x", nil)
		checked, err := cloud.Check(r)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		w := httptest.NewRecorder()
		checked.Answer.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), `resource="`+resource+`"`) {
			t.Errorf("%s: %d %q", host, w.Code, w.Header())
		}
	}
	for _, host := range []string{"management.azure.com", "x.blob.core.windows.net"} { // whose programs do not
		if _, err := cloud.Check(httptest.NewRequest("GET", "https://"+host+"/", nil)); err == nil {
			t.Errorf("%s: no failure", host)
		}
	}
}
