package cloudproxy

import (
	"net/http"
	"strings"
	"testing"
)

func TestGCP(t *testing.T) {
	a := newAgent(t)
	c := throughProxy(t, NewGCP(GCPOptions{Secret: "the-secret"}), a)
	for name, header := range map[string][]string{
		"secret": {"Authorization", "Bearer the-secret", "X-Forwarded-Host", "evil"}, "other case": {"Authorization", "bearer the-secret"}, "none": nil,
	} {
		res, body := ask(t, c, "POST", "https://storage.googleapis.com/storage/v1/b?x=y", "a body", header...)
		if res.StatusCode != 200 || body != "from the cloud" {
			t.Fatalf("%s: %d %s", name, res.StatusCode, body)
		}
		if b := <-a.bodies; b != "a body" {
			t.Errorf("%s: the app got %q", name, b)
		}
		r := <-a.seen
		if r.Host != "storage.googleapis.com" || r.Header.Get("X-Forwarded-Host") != r.Host || r.Header.Get("Authorization") != "" || r.URL.String() != "/storage/v1/b?x=y" {
			t.Errorf("%s: the app is told %q %s %q", name, r.Host, r.URL, r.Header)
		}
	}
	for name, header := range map[string][]string{
		"another token": {"Authorization", "Bearer ya29.real"}, "another kind": {"Authorization", "Basic the-secret"}, "empty": {"Authorization", ""},
	} {
		res, body := ask(t, c, "GET", "https://storage.googleapis.com/", "", header...)
		if res.StatusCode != 403 || !strings.Contains(body, `"status":"PERMISSION_DENIED"`) || strings.Contains(body, "the-secret") {
			t.Errorf("%s: %d %s", name, res.StatusCode, body)
		}
	}
	if len(a.seen) > 0 {
		t.Error("something got to the app")
	}
}

// A host that is not the cloud's cannot be reached in the disguise of one.
func TestTokenCloudsOtherHost(t *testing.T) {
	a := newAgent(t)
	for host, cloud := range map[string]Cloud{"storage.googleapis.com": NewGCP(GCPOptions{Secret: "s"}), "management.azure.com": NewAzure(AzureOptions{Secret: "s"})} {
		c := throughProxy(t, cloud, a)
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "evil.example.com"
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 421 || len(a.seen) > 0 {
			t.Errorf("%s: %d", host, res.StatusCode)
		}
	}
}
