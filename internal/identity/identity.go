// Package identity names who a certificate speaks for and which one resource
// it opens: the reading and writing of the X.509 subject that the access proxy
// routes by (docs/protocol.md, "X.509 identity").
//
//	id, err := identity.FromCertificate(cert)
//	if id.Database.Present() { ... }
//
// It checks no signature and no validity; that is the job of crypto/x509.
package identity

// Values of Usage: what a certificate with a route is limited to.
const (
	UsageDB   = "usage:db"
	UsageApps = "usage:apps"
	UsageKube = "usage:kube"
)

// Identity is what the subject of a user or host certificate says. The order
// of multi-valued fields in a certificate carries no meaning: DER sorts the
// values of one attribute.
type Identity struct {
	User            string   // CN
	Roles           []string // O
	Logins          []string // L: SSH principals
	Usage           []string // OU: "usage:db" and so on, empty for a general certificate
	RouteToCluster  string   // STREET: the cluster the certificate is routed to
	TeleportCluster string   // 1.3.9999.1.7: the cluster that issued it
	Traits          string   // postalCode: JSON

	KubeCluster string   // 1.3.9999.1.3
	KubeUsers   []string // 1.3.9999.1.1
	KubeGroups  []string // 1.3.9999.1.2

	App      App      // zero if the certificate opens no app
	Database Database // zero if the certificate opens no database

	AllowedDBNames []string // 1.3.9999.2.5, "*" allows any
	AllowedDBUsers []string // 1.3.9999.2.6, "*" allows any

	AWSRoleARNs        []string // 1.3.9999.1.12: roles the user may take
	AzureIdentities    []string // 1.3.9999.1.17
	GCPServiceAccounts []string // 1.3.9999.1.19

	LoginIP          string   // 1.3.9999.1.9: where the user logged in from
	PinnedIP         string   // 1.3.9999.2.15: the only address the proxy accepts it from
	MFADevice        string   // 1.3.9999.1.8: set when a second factor was shown for this certificate
	PrivateKeyPolicy string   // 1.3.9999.1.15
	UserType         string   // 1.3.9999.1.20: "sso" or "local" (since v15)
	Impersonator     string   // 1.3.9999.2.7
	AccessRequests   []string // 1.3.9999.2.8: ids of the active ones
	Bot              string   // 1.3.9999.2.18
}

// Database is the route of a database certificate. It is present when Service
// is not empty.
type Database struct {
	Service  string   // 1.3.9999.2.1: the database's name in the cluster
	Protocol string   // 1.3.9999.2.2: "postgres", "mysql", ...
	User     string   // 1.3.9999.2.3
	Name     string   // 1.3.9999.2.4: the database inside the server
	Roles    []string // 1.3.9999.2.19: for users created on the fly
}

// Present reports whether the certificate opens a database.
func (d Database) Present() bool { return d.Service != "" }

// App is the route of an application certificate. It is present when
// SessionID, PublicAddr and Cluster are all set.
type App struct {
	Name       string // 1.3.9999.1.10
	SessionID  string // 1.3.9999.1.4
	PublicAddr string // 1.3.9999.1.6
	Cluster    string // 1.3.9999.1.5

	AWSRoleARN        string // 1.3.9999.1.11: the role this app session takes
	AzureIdentity     string // 1.3.9999.1.16
	GCPServiceAccount string // 1.3.9999.1.18
}

// Present reports whether the certificate opens an app.
func (a App) Present() bool {
	return a.SessionID != "" && a.PublicAddr != "" && a.Cluster != ""
}
