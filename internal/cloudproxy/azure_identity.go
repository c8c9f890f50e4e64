package cloudproxy

import (
	"cmp"
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Hosts where programs ask for tokens of their managed identity. There are no such
// servers: the names are answered here.
const (
	// AzureMSIHost is for az before 2.73. The secret is the path.
	AzureMSIHost = "azure-msi.teleport.dev"
	// AzureIdentityHost is for newer az and for Azure's libraries. The secret is the
	// header X-Identity-Header.
	AzureIdentityHost = "azure-identity.teleport.dev"
)

func azureTokenHost(host string) bool { return host == AzureMSIHost || host == AzureIdentityHost }

// azureTokenLife is how long tokens for programs are good, as real ones are. It
// does not end with the certificate: az before 2.73 drops what these endpoints say,
// and asks them before each request, which then can say what is wrong.
const azureTokenLife = 24 * time.Hour

// serveToken answers as the endpoint of a virtual machine does, or of App Service
// (https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token,
// https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference).
func (a *Azure) serveToken(w http.ResponseWriter, r *http.Request) {
	secret, unforged := strings.TrimPrefix(r.URL.Path, "/"), r.Header.Get("Metadata") == "true"
	if hostOf(r) == AzureIdentityHost {
		secret, unforged = r.Header.Get("X-Identity-Header"), true
	}
	if subtle.ConstantTimeCompare([]byte(secret), []byte(a.o.Secret)) != 1 {
		tokenError(w, http.StatusNotFound, "not_found", "the secret is not that of this local proxy")
		return
	}
	if !unforged { // a page or a redirect cannot send these headers
		tokenError(w, http.StatusBadRequest, "bad_request_102", "the header Metadata: true is required")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		tokenError(w, http.StatusBadRequest, "invalid_request", "the form cannot be read")
		return
	}
	resource := r.Form.Get("resource")
	if resource == "" {
		tokenError(w, http.StatusBadRequest, "invalid_resource", "the field resource is required")
		return
	}
	a.answerToken(w, resource, cmp.Or(r.Form.Get("mi_res_id"), r.Form.Get("msi_res_id"), a.o.Identity))
}

// answerToken gives out a token, which Check knows.
func (a *Azure) answerToken(w http.ResponseWriter, resource, identity string) {
	now := a.o.Now()
	claims := azureClaims{Tenant: a.tenant, Resource: resource, Audience: resource, Object: a.tenant, App: a.tenant,
		Identity: identity, Issued: now.Unix(), Begins: now.Add(-time.Minute).Unix(), Ends: now.Add(azureTokenLife).Unix()}
	token, err := signHMAC(a.key, claims)
	if err != nil {
		tokenError(w, http.StatusInternalServerError, "server_error", err.Error())
		return
	}
	left := strconv.FormatInt(claims.Ends-claims.Issued, 10)
	writeJSON(w, http.StatusOK, map[string]string{
		"access_token": token, "client_id": a.tenant, "resource": resource, "token_type": "Bearer",
		"expires_in": left, "ext_expires_in": left,
		"expires_on": strconv.FormatInt(claims.Ends, 10), "not_before": strconv.FormatInt(claims.Begins, 10),
	})
}

// tokenError refuses in the words of both endpoints.
func tokenError(w http.ResponseWriter, status int, code, text string) {
	writeJSON(w, status, map[string]any{"error": code, "error_description": text, "statusCode": status, "message": text})
}
