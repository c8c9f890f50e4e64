// Package identity names who a certificate speaks for and which one resource
// it opens: the reading and writing of the X.509 subject that the access proxy
// routes by (docs/protocol.md, "Certificates").
//
// It checks no signature and no validity; that is the job of crypto/x509.
package identity

// Identity is what the subject of a user or host certificate says.
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
}

// Database is the route of a database certificate. It is present when Service
// is not empty.
type Database struct {
	Service  string // 1.3.9999.2.1: the database's name in the cluster
	Protocol string // 1.3.9999.2.2: "postgres", "mysql", ...
	User     string // 1.3.9999.2.3
	Name     string // 1.3.9999.2.4: the database inside the server
}

// App is the route of an application certificate. It is present when
// SessionID, PublicAddr and Cluster are all set.
type App struct {
	Name       string // 1.3.9999.1.10
	SessionID  string // 1.3.9999.1.4
	PublicAddr string // 1.3.9999.1.6
	Cluster    string // 1.3.9999.1.5
}
