package cloudproxy

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tshx/internal/httproute"
)

// AzureOptions configure an Azure. Secret and Certificate are needed.
type AzureOptions struct {
	// Secret is the path at AzureMSIHost, without the slash, and what programs send
	// to AzureIdentityHost.
	Secret string
	// Identity is the resource id of the managed identity that the app is for.
	// Requests with the token of another are refused. Empty takes any.
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
// extensions and tools without one.
var azurePassed = []string{
	"login.windows.net", "login.chinacloudapi.cn", "portal.azure.com", "dev.azure.com",
	"azcliprod.blob.core.windows.net", "azcliextensionsync.blob.core.windows.net",
	"downloads.bicep.azure.com", "mirror.azure.cn",
}

// Clients implements Cloud.
func (a *Azure) Clients() string { return "Azure clients" }

// Owns implements Cloud.
func (a *Azure) Owns(host, port string) bool {
	if port != "443" || within(host, azurePassed) {
		return false
	}
	return azureTokenHost(host) || within(host, azureSuffixes)
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

// azureVaults are the domains of key vaults, whose programs first ask without a
// token what one is to be for.
var azureVaults = []string{
	"vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net",
	"managedhsm.azure.net", "managedhsm.azure.cn", "managedhsm.usgovcloudapi.net",
}

// azureVault is the domain of key vaults that a host is in, or empty.
func azureVault(host string) string {
	i := slices.IndexFunc(azureVaults, func(d string) bool { return within(host, []string{d}) })
	if i < 0 {
		return ""
	}
	return azureVaults[i]
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
	if azureTokenHost(host) {
		return &Checked{Answer: http.HandlerFunc(a.serveToken)}, nil
	}
	if !a.Owns(host, "443") {
		return nil, &Error{http.StatusMisdirectedRequest, "InvalidHost", fmt.Sprintf("%s is not a host of Azure", host)}
	}
	token, err := bearer(r)
	noToken := &Error{http.StatusUnauthorized, "AuthenticationFailed", "it has no token; sign in with az login --identity, and for storage add --auth-mode login"}
	var claims azureClaims
	switch {
	case errors.Is(err, errNoAuthorization) && azureVault(host) != "": // the first of each program, and no failure
		return &Checked{Answer: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.WriteError(w, r, noToken) })}, nil
	case err != nil:
		return nil, noToken
	case verifyHMAC(a.key, token, &claims) != nil:
		return nil, &Error{http.StatusUnauthorized, "InvalidAuthenticationToken",
			"its token is not of this local proxy; use the environment that it was started with, and sign in again with: az login --identity"}
	case a.o.Now().Unix() >= claims.Ends:
		return nil, &Error{http.StatusUnauthorized, "ExpiredAuthenticationToken", "its token has ended; ask for another"}
	case a.o.Identity != "" && !strings.EqualFold(claims.Identity, a.o.Identity):
		return nil, &Error{http.StatusForbidden, "AuthorizationFailed",
			fmt.Sprintf("its token is for another identity than the login, which is for %s; sign in again with az login --identity, or as the other with: tsh apps login --azure-identity", a.o.Identity)}
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
	if vault := azureVault(host); vault != "" && e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="https://%s"`, a.tenant, vault))
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
