package cloudproxy

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tshx/internal/httproute"
)

// AzureMSIHost is where programs ask for tokens of their managed identity. There
// is no such server: the name is answered here.
const AzureMSIHost = "azure-msi.teleport.dev"

// AzureOptions configure an Azure. Secret and Certificate are needed.
type AzureOptions struct {
	// Secret is the path at AzureMSIHost, without the slash.
	Secret string
	// Identity is the resource id of the managed identity that the app is for. A
	// program that asks for another is refused. Empty takes any.
	Identity string
	// Certificate is that of the app. Its key signs what the app is told, so it is
	// asked for at each request.
	Certificate func() (*tls.Certificate, error)
	Now         func() time.Time // nil means time.Now
}

// Azure is the Cloud in which programs get tokens from an endpoint for managed
// identities. The tokens are made here and are worth something only here. What
// goes to the app has in their place one signed with the key of the app's
// certificate, which says for which resource a real one is wanted
// (docs/protocol.md, "Azure and Google Cloud").
type Azure struct {
	o      AzureOptions
	key    []byte // of the tokens that programs get
	tenant string
}

// NewAzure returns the cloud for a Proxy.
func NewAzure(o AzureOptions) *Azure {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Azure{o: o, key: make([]byte, 32), tenant: azureID(o.Identity)}
	rand.Read(a.key)
	return a
}

// azureID is an id that programs remember an identity by. It is no real one, but
// always the same, so that what they have remembered stays right.
func azureID(identity string) string {
	h := sha256.Sum256([]byte("tshx azure " + identity))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // RFC 9562, section 5.8
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// azureSuffixes are the domains of Azure APIs, as `az cloud list` has them. Where
// people sign in is not among them.
var azureSuffixes = []string{
	"azure.com", "azure.net", "windows.net", "graph.microsoft.com", "azurecr.io", "azuresynapse.net", "azurewebsites.net",
	"azuredatalakestore.net", "azuredatalakeanalytics.net", "azmk8s.io", "azconfig.io", "loganalytics.io", "applicationinsights.io",
	"azure.cn", "chinacloudapi.cn", "azure.us", "usgovcloudapi.net", "graph.microsoft.us",
}

// azurePassed are hosts within these domains that the identity is not for: where
// people sign in, where they use tokens of their own, and where az gets its
// extensions.
var azurePassed = []string{
	"login.windows.net", "login.chinacloudapi.cn", "portal.azure.com", "dev.azure.com",
	"azcliprod.blob.core.windows.net", "azcliextensionsync.blob.core.windows.net",
}

// Clients implements Cloud.
func (a *Azure) Clients() string { return "Azure clients" }

// Owns implements Cloud.
func (a *Azure) Owns(host, port string) bool {
	if port != "443" || within(host, azurePassed) {
		return false
	}
	return host == AzureMSIHost || within(host, azureSuffixes)
}

// within reports whether a host is one of domains or in one.
func within(host string, domains []string) bool {
	for _, d := range domains {
		if rest, ok := strings.CutSuffix(host, d); ok && (rest == "" || strings.HasSuffix(rest, ".")) {
			return true
		}
	}
	return false
}

// azureClaims are what a token says. Agents look at the first two, az at the
// others.
type azureClaims struct {
	Tenant   string `json:"tid"`
	Resource string `json:"resource"`
	Audience string `json:"aud,omitempty"`
	Object   string `json:"oid,omitempty"`
	App      string `json:"appid,omitempty"`
	Identity string `json:"xms_mirid,omitempty"`
	Issued   int64  `json:"iat"`
	Begins   int64  `json:"nbf"`
	Ends     int64  `json:"exp"`
}

// Check implements Cloud.
func (a *Azure) Check(r *http.Request) (*Checked, error) {
	host := hostOf(r)
	if host == AzureMSIHost {
		return &Checked{Answer: http.HandlerFunc(a.serveMSI)}, nil
	}
	if !a.Owns(host, "443") {
		return nil, &Error{http.StatusMisdirectedRequest, "InvalidHost", fmt.Sprintf("%s is not a host of Azure", host)}
	}
	token, err := bearer(r)
	var claims azureClaims
	switch {
	case err != nil:
		return nil, &Error{http.StatusUnauthorized, "AuthenticationFailed", "it has no token; sign in with az login --identity, and for storage add --auth-mode login"}
	case verifyHMAC(a.key, token, &claims) != nil:
		return nil, &Error{http.StatusUnauthorized, "InvalidAuthenticationToken",
			"its token is not of this local proxy; use the environment that it was started with, and sign in again with: az login --identity"}
	case a.o.Now().Unix() >= claims.Ends:
		return nil, &Error{http.StatusUnauthorized, "ExpiredAuthenticationToken", "its token has ended; ask for another"}
	}
	cert, err := a.o.Certificate()
	if err != nil {
		return nil, &httproute.CertError{Err: err}
	}
	now := a.o.Now()
	real, err := signJWT(cert.PrivateKey, azureClaims{Tenant: a.tenant, Resource: claims.Resource,
		Issued: now.Unix(), Begins: now.Add(-time.Minute).Unix(), Ends: cert.Leaf.NotAfter.Unix()})
	if err != nil {
		return nil, fmt.Errorf("token for the app: %w", err)
	}
	return &Checked{Host: host, Header: http.Header{"Authorization": {"Bearer " + real}}}, nil
}

// serveMSI answers as the endpoint of a virtual machine does
// (https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token).
func (a *Azure) serveMSI(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code, text string) { a.msiError(w, r, status, code, text) }
	if subtle.ConstantTimeCompare([]byte(r.URL.Path), []byte("/"+a.o.Secret)) != 1 {
		refuse(http.StatusNotFound, "not_found", "the secret in the path is not that of this local proxy")
		return
	}
	if r.Header.Get("Metadata") != "true" { // what a page or a redirect cannot send
		refuse(http.StatusBadRequest, "bad_request_102", "the header Metadata: true is required")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		refuse(http.StatusBadRequest, "invalid_request", "the form cannot be read")
		return
	}
	resource, identity := r.Form.Get("resource"), r.Form.Get("msi_res_id")
	switch {
	case resource == "":
		refuse(http.StatusBadRequest, "invalid_resource", "the field resource is required")
		return
	case identity != "" && a.o.Identity != "" && !strings.EqualFold(identity, a.o.Identity):
		refuse(http.StatusBadRequest, "invalid_request", fmt.Sprintf("the login is for identity %s; choose another with: tsh apps login --azure-identity", a.o.Identity))
		return
	}
	cert, err := a.o.Certificate()
	if err != nil {
		refuse(http.StatusUnauthorized, "unauthorized_client", err.Error())
		return
	}
	a.answerMSI(w, resource, cert.Leaf.NotAfter)
}

// answerMSI gives out a token that is good until ends.
func (a *Azure) answerMSI(w http.ResponseWriter, resource string, ends time.Time) {
	now := a.o.Now()
	claims := azureClaims{Tenant: a.tenant, Resource: resource, Audience: resource, Object: a.tenant, App: a.tenant,
		Identity: a.o.Identity, Issued: now.Unix(), Begins: now.Add(-time.Minute).Unix(), Ends: ends.Unix()}
	token, err := signHMAC(a.key, claims)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	left := strconv.FormatInt(claims.Ends-claims.Issued, 10)
	writeJSON(w, http.StatusOK, map[string]string{
		"access_token": token, "client_id": a.tenant, "resource": resource, "token_type": "Bearer",
		"expires_in": left, "ext_expires_in": left,
		"expires_on": strconv.FormatInt(claims.Ends, 10), "not_before": strconv.FormatInt(claims.Begins, 10),
	})
}

func (a *Azure) msiError(w http.ResponseWriter, _ *http.Request, status int, code, text string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": text})
}

// azureCodes are the words for programs of our own errors.
var azureCodes = map[int]string{
	http.StatusUnauthorized:   "ExpiredAuthenticationToken",
	http.StatusBadGateway:     "BadGateway",
	http.StatusGatewayTimeout: "GatewayTimeout",
}

// WriteError implements Cloud.
func (a *Azure) WriteError(w http.ResponseWriter, r *http.Request, e *Error) {
	code := cmp.Or(e.Code, azureCodes[e.Status], "AuthorizationFailed")
	host := hostOf(r)
	if e.Status == http.StatusUnauthorized && within(host, []string{"vault.azure.net"}) {
		// Programs for key vaults first ask what the token is to be for.
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="https://vault.azure.net"`, a.tenant))
	}
	w.Header().Set("X-Ms-Error-Code", code)
	if strings.Contains(host, ".core.") { // storage
		w.Header().Set("Content-Type", typeXML)
		w.WriteHeader(e.Status)
		w.Write(xmlError("<Error>", code, e.Text, "</Error>"))
		return
	}
	writeJSON(w, e.Status, map[string]any{"error": map[string]string{"code": code, "message": e.Text}})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

var _ Cloud = (*Azure)(nil)
