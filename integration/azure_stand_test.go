//go:build linux

package integration

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"tshx/internal/lab"
)

// azureStand stands for the agent of an Azure app and for the Azure behind it: as
// much of it as the tests ask for, and who asked.
type azureStand struct {
	http.ServeMux // by the host that the agent is told

	mu    sync.Mutex
	asked map[string]*http.Request // by host and path
	sums  map[string]string        // of the bodies
}

const (
	azureSubscription = "00000000-0000-0000-0000-000000000001"
	azureRefusal      = `"refused.example" is not an Azure endpoint`
)

func newAzureStand() *azureStand {
	s := &azureStand{asked: map[string]*http.Request{}, sums: map[string]string{}}
	says := func(pattern, body string) {
		s.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, body)
		})
	}
	says("GET management.azure.com/subscriptions", `{"value":[{"id":"/subscriptions/`+azureSubscription+`","subscriptionId":"`+azureSubscription+
		`","tenantId":"t","displayName":"stand","state":"Enabled","subscriptionPolicies":{}}]}`)
	says("GET management.azure.com/subscriptions/{id}/resourcegroups", `{"value":[{"name":"group-1","location":"westeurope"}]}`)
	says("GET v.vault.azure.net/secrets/", `{"value":"a secret"}`)
	says("PUT management.azure.com/", `{"done":true}`)
	s.HandleFunc("PUT account.blob.core.windows.net/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusCreated)
	})
	refuse := func(w http.ResponseWriter, r *http.Request) { // as agents do
		w.Header().Set("X-Teleport-Api-Error", azureRefusal)
		http.Error(w, "Forbidden", http.StatusForbidden)
	}
	s.HandleFunc("refused.vault.azure.net/", refuse)
	s.HandleFunc("refused.blob.core.windows.net/", refuse)
	return s
}

func (s *azureStand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Host = r.Header.Get("X-Forwarded-Host")
	sum := sha256.New()
	io.Copy(sum, r.Body)
	s.mu.Lock()
	s.asked[r.Host+r.URL.Path], s.sums[r.Host+r.URL.Path] = r, fmt.Sprintf("%x", sum.Sum(nil))
	s.mu.Unlock()
	s.ServeMux.ServeHTTP(w, r)
}

// of returns a request that must have come, and the sum of its body.
func (s *azureStand) of(t testing.TB, where string) (*http.Request, string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked[where] == nil {
		t.Fatalf("nothing has asked for %s", where)
	}
	return s.asked[where], s.sums[where]
}

var standOfAzure = share(func() (*azureStand, error) { return newAzureStand(), nil })

func azureCluster(name, behave string) *shared[*cluster] {
	return cloudCluster(name, behave, standOfAzure, func(uri string) []lab.App {
		return []lab.App{{Name: azureApp, URI: uri, AzureIdentity: azureIdentity}}
	})
}

var (
	azureModern = azureCluster("azure.tshx.test", "v17")
	azureOld    = azureCluster("oldazure.tshx.test", "v14")
)

// azureWays are those of tokenWays, with Azure alone behind them.
var azureWays = cloudWays(azureModern, azureOld)
