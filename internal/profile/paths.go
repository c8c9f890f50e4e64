package profile

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Layout is how the files of a login are laid out below keys/<proxy>/
// (docs/protocol.md, "Profile directory").
type Layout int

const (
	// LayoutV13 is written by v13 to v16: one key for everything, in the file
	// <user>, and certificates that end in -x509.pem.
	LayoutV13 Layout = iota + 1
	// LayoutV17 is written since v17: every certificate has a key of its own
	// beside it (.crt and .key, .cred for both), <user> is the SSH key.
	LayoutV17
)

// Kind is what a certificate is for.
type Kind string

// The kinds of certificates a login holds. TLS is the login itself.
const (
	KindTLS  Kind = "tls"
	KindSSH  Kind = "ssh"
	KindDB   Kind = "db"
	KindApp  Kind = "app"
	KindKube Kind = "kube"
)

const (
	extCert     = ".crt"
	extKey      = ".key"
	extCred     = ".cred"
	extConfig   = ".yaml"
	extPEM      = ".pem"
	suffixX509  = "-x509.pem"
	suffixSSH   = "-cert.pub"
	suffixLocal = "-localca.pem"
)

// CurrentPath is the file that names the current profile.
func CurrentPath(dir string) string { return filepath.Join(dir, "current-profile") }

// ConfigPath is the file that holds the Config of the proxy with this host.
func ConfigPath(dir, proxy string) string { return filepath.Join(dir, proxy+extConfig) }

// KnownHostsPath is the file with the clusters' host authorities, for all
// proxies.
func KnownHostsPath(dir string) string { return filepath.Join(dir, "known_hosts") }

// Paths names the files of one user's login at one proxy. It joins strings
// only: that User and the arguments of its methods are plain file names is for
// the caller to check (CheckName).
type Paths struct {
	Dir   string // the home directory, such as ~/.tsh
	Proxy string // host of the proxy's web address
	User  string
}

// Pair is where a certificate and its private key are. Both are the same file
// when one file holds both.
type Pair struct{ Cert, Key string }

// ProxyDir holds everything of this proxy but its Config.
func (p Paths) ProxyDir() string { return filepath.Join(p.Dir, "keys", p.Proxy) }

// AllCAs holds the host authorities of all clusters.
func (p Paths) AllCAs() string { return filepath.Join(p.ProxyDir(), "certs.pem") }

// ClusterCAs holds the host authorities of one cluster.
func (p Paths) ClusterCAs(cluster string) string {
	return filepath.Join(p.ProxyDir(), "cas", cluster+extPEM)
}

// SSHKey is the private key for SSH and, in LayoutV13, for all certificates.
func (p Paths) SSHKey() string { return filepath.Join(p.ProxyDir(), p.User) }

// SSHPublicKey is the public half of SSHKey, an authorized_keys line.
func (p Paths) SSHPublicKey() string { return p.SSHKey() + ".pub" }

// SSHCert is the SSH certificate for a cluster.
func (p Paths) SSHCert(cluster string) string {
	return filepath.Join(p.KindDir(KindSSH), cluster+suffixSSH)
}

// KindDir holds the certificates of a kind other than KindTLS, for SSH one
// file and for the others one directory for each cluster.
func (p Paths) KindDir(kind Kind) string {
	return filepath.Join(p.ProxyDir(), p.User+"-"+string(kind))
}

// ClusterDir holds the certificates of a kind for the resources of one
// cluster.
func (p Paths) ClusterDir(kind Kind, cluster string) string {
	return filepath.Join(p.KindDir(kind), cluster)
}

// Pair names the certificate and key of the given kind. Cluster and name are
// not used for KindTLS, and name is not used for KindSSH.
func (p Paths) Pair(layout Layout, kind Kind, cluster, name string) Pair {
	base := filepath.Join(p.ClusterDir(kind, cluster), name)
	switch {
	case kind == KindSSH:
		return Pair{Cert: p.SSHCert(cluster), Key: p.SSHKey()}
	case kind == KindTLS:
		base = p.SSHKey()
	}
	switch {
	case layout == LayoutV13:
		return Pair{Cert: base + suffixX509, Key: p.SSHKey()}
	case kind == KindKube:
		return Pair{Cert: base + extCred, Key: base + extCred}
	}
	return Pair{Cert: base + extCert, Key: base + extKey}
}

// DBLocalCA is the local authority that database clients trust when a local
// proxy ends their TLS.
func (p Paths) DBLocalCA() string {
	return filepath.Join(p.KindDir(KindDB), "proxy"+suffixLocal)
}

// AppLocalCA is the same for the clients of one app.
func (p Paths) AppLocalCA(cluster, app string) string {
	return filepath.Join(p.ClusterDir(KindApp, cluster), app+suffixLocal)
}

// KubeLocalCA is the same for the Kubernetes clients of a cluster.
func (p Paths) KubeLocalCA(cluster string) string {
	return filepath.Join(p.ClusterDir(KindKube, cluster), "localca.pem")
}

// KubeConfig is the standalone kubeconfig for one Kubernetes cluster.
func (p Paths) KubeConfig(cluster, kube string) string {
	return filepath.Join(p.ClusterDir(KindKube, cluster), kube+"-kubeconfig")
}

// resourceName is the inverse of Pair for one directory entry: the resource
// that a certificate file is for. Keys, kubeconfigs and the like are no
// certificates.
func resourceName(kind Kind, file string) (string, bool) {
	suffixes := []string{extCert, suffixX509}
	switch kind {
	case KindKube:
		suffixes[0] = extCred
	case KindSSH:
		suffixes = []string{suffixSSH}
	}
	for _, suffix := range suffixes {
		if name, ok := strings.CutSuffix(file, suffix); ok && name != "" {
			return name, true
		}
	}
	return "", false
}

// CheckName reports whether name can be part of a file name in the home
// directory: not empty, no path separator, no "..", no control character. What
// says, for the ErrBadName it returns, what it is the name of.
func CheckName(what, name string) error {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if filepath.IsLocal(name) && name != "." && !strings.ContainsRune(name, '/') &&
		!strings.ContainsRune(name, filepath.Separator) && !strings.ContainsFunc(name, control) {
		return nil
	}
	article := "a"
	if strings.HasPrefix(what, "a") {
		article = "an" // app resource
	}
	return fmt.Errorf("%w for %s %s: %q", ErrBadName, article, what, name)
}
