package lab

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/identity"
	"tshx/internal/profile"
	"tshx/internal/proxyserver"
)

// Modes of the files of a login (docs/protocol.md, "Profile directory").
const (
	modeDir     = 0o700
	modeSecret  = 0o600
	modeProfile = 0o660
	modePublic  = 0o640
)

// HomeOptions say what login a home directory or identity file holds. The zero
// HomeOptions is a fresh one of the lab's user.
type HomeOptions struct {
	// Layout is the form of the home. Zero: LayoutV13 for a lab that behaves like
	// v14, else LayoutV17.
	Layout profile.Layout
	// TTL is the lifetime of the certificates. Zero: 12 hours. Negative: they
	// expired that long ago.
	TTL time.Duration
	// Algorithm is for the user's keys. Empty: RSA in LayoutV13, else ECDSA and,
	// for SSH, Ed25519.
	Algorithm proxyserver.Algorithm
	// FreshKey makes new keys, as a real login does, where sharing an earlier
	// one's would save time.
	FreshKey bool
	// UpgradeRequired is what the profile remembers of the way to the proxy. Nil
	// leaves it out.
	UpgradeRequired *bool
	// User is empty for the lab's user.
	User string
	// Signer issues the certificates in place of the lab's authority: the proxy
	// will refuse them.
	Signer *proxyserver.Authority
	// Trust is whose authorities the home trusts in place of the lab's: the
	// client will refuse the proxy.
	Trust *proxyserver.Authority
	// PinnedIP binds the certificates to an address.
	PinnedIP string
	// Mismatch writes keys that do not belong to the certificates.
	Mismatch bool
	// KubeUsers and KubeGroups, if not nil, take the place of the Config's.
	KubeUsers, KubeGroups []string
	// Database, App and Kube put a route into an identity file, which has one
	// certificate for all. They are not looked at in a home.
	Database, App, Kube string
}

// login is one login in the making.
type login struct {
	lab      *Lab
	o        HomeOptions
	user     string
	notAfter time.Time
	signer   *proxyserver.Authority
	trust    *proxyserver.Authority
}

func (l *Lab) login(o HomeOptions) *login {
	if o.Layout == 0 {
		o.Layout = profile.LayoutV17
		if l.config.Behave == "v14" {
			o.Layout = profile.LayoutV13
		}
	}
	return &login{
		lab:      l,
		o:        o,
		user:     cmp.Or(o.User, l.config.User),
		notAfter: time.Now().Add(cmp.Or(o.TTL, 12*time.Hour)),
		signer:   cmp.Or(o.Signer, l.Authority),
		trust:    cmp.Or(o.Trust, l.Authority),
	}
}

// WriteHome writes the home directory that a login at proxyAddr leaves, with
// certificates for all databases, apps and Kubernetes clusters. Written over an older one, it is a
// new login.
func (l *Lab) WriteHome(dir, proxyAddr string, o HomeOptions) error {
	host, _, err := net.SplitHostPort(proxyAddr)
	if err != nil {
		return fmt.Errorf("write home: proxy address %q: %w", proxyAddr, err)
	}
	lg := l.login(o)
	h := &home{login: lg, paths: profile.Paths{Dir: dir, Proxy: host, User: lg.user}}
	for _, step := range []func() error{
		func() error { return h.writeProfile(proxyAddr) },
		h.writeAuthorities,
		h.writeLogin,
		h.writeRoutes,
	} {
		if err := step(); err != nil {
			return fmt.Errorf("write home %s: %w", dir, err)
		}
	}
	return nil
}

// home writes one directory.
type home struct {
	*login
	paths profile.Paths
	ssh   crypto.Signer // in LayoutV13 for all certificates
}

func (h *home) writeProfile(addr string) error {
	b, err := profile.Config{
		WebProxyAddr: addr, SSHProxyAddr: addr, KubeProxyAddr: addr, PostgresProxyAddr: addr, MySQLProxyAddr: addr,
		User: h.user, Cluster: h.lab.config.Cluster, TLSRoutingEnabled: true,
		TLSRoutingConnUpgradeRequired: h.o.UpgradeRequired,
	}.Marshal()
	if err != nil {
		return err
	}
	return errors.Join(
		write(profile.ConfigPath(h.paths.Dir, h.paths.Proxy), modeProfile, b),
		write(profile.CurrentPath(h.paths.Dir), modeProfile, []byte(h.paths.Proxy+"\n")),
	)
}

func (h *home) writeAuthorities() error {
	ca := h.trust.Host.PEM()
	return errors.Join(
		write(profile.KnownHostsPath(h.paths.Dir), modePublic, h.hostKeyLine(h.paths.Proxy)),
		write(h.paths.AllCAs(), modePublic, ca),
		write(h.paths.ClusterCAs(h.lab.config.Cluster), modePublic, ca),
	)
}

// hostKeyLine is the known_hosts line for a cluster (docs/protocol.md, "Host
// keys").
func (lg *login) hostKeyLine(proxy string) []byte {
	cluster := lg.lab.config.Cluster
	key := ssh.MarshalAuthorizedKey(lg.trust.SSHHost.PublicKey())
	return fmt.Appendf(nil, "@cert-authority %s,%s,*.%s %s type=host\n", proxy, cluster, cluster, key[:len(key)-1])
}

// writeLogin writes the user's keys and the certificates of the login itself.
func (h *home) writeLogin() error {
	alg := cmp.Or(h.o.Algorithm, proxyserver.Ed25519)
	if h.o.Layout == profile.LayoutV13 {
		alg = cmp.Or(h.o.Algorithm, proxyserver.RSA)
	}
	var err error
	if h.ssh, err = h.lab.keys.get(alg, h.o.FreshKey); err != nil {
		return err
	}
	cert, err := h.signer.IssueSSH(h.request(h.ssh, identity.Identity{}))
	if err != nil {
		return err
	}
	pub, err := ssh.NewPublicKey(h.ssh.Public())
	if err != nil {
		return err
	}
	if err := errors.Join(
		h.writeKey(h.paths.SSHKey(), h.ssh, true),
		write(h.paths.SSHPublicKey(), modeSecret, ssh.MarshalAuthorizedKey(pub)),
		write(h.paths.SSHCert(h.lab.config.Cluster), modeSecret, ssh.MarshalAuthorizedKey(cert)),
	); err != nil {
		return err
	}
	return h.writeCert(profile.KindTLS, "", identity.Identity{})
}

// writeRoutes writes the certificates that open one resource each.
func (h *home) writeRoutes() error {
	for _, db := range h.lab.config.Databases {
		if err := h.writeCert(profile.KindDB, db.Name, h.dbRoute(db)); err != nil {
			return err
		}
	}
	for _, a := range h.lab.config.Apps {
		if err := h.writeCert(profile.KindApp, a.Name, h.appRoute(a)); err != nil {
			return err
		}
	}
	for _, k := range h.lab.config.Kube {
		if err := h.writeCert(profile.KindKube, k.Name, kubeRoute(k.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (h *home) writeCert(kind profile.Kind, name string, id identity.Identity) error {
	key := h.ssh
	pair := h.paths.Pair(h.o.Layout, kind, h.lab.config.Cluster, name)
	if h.o.Layout != profile.LayoutV13 {
		var err error
		if key, err = h.lab.keys.get(cmp.Or(h.o.Algorithm, proxyserver.ECDSA), h.o.FreshKey); err != nil {
			return err
		}
		if pair.Key != pair.Cert {
			if err := h.writeKey(pair.Key, key, false); err != nil {
				return err
			}
		}
	}
	der, err := h.signer.IssueTLS(h.request(key, id))
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	one := pair.Key == pair.Cert
	if one || id.Database.Protocol == "mongodb" { // its clients take both from one file
		b, err := h.marshalKey(key, false)
		if err != nil {
			return err
		}
		if one {
			text = append(b, text...)
		} else {
			text = append(text, b...)
		}
	}
	return write(pair.Cert, modeSecret, text)
}

// writeKey writes key, or a stranger's if the home is to be broken.
func (h *home) writeKey(path string, key crypto.Signer, forSSH bool) error {
	b, err := h.marshalKey(key, forSSH)
	if err != nil {
		return err
	}
	return write(path, modeSecret, b)
}

func (lg *login) marshalKey(key crypto.Signer, forSSH bool) ([]byte, error) {
	if lg.o.Mismatch {
		var err error
		if key, err = proxyserver.NewKey(proxyserver.ECDSA); err != nil {
			return nil, err
		}
	}
	return marshalKey(key, forSSH)
}

// request asks for a certificate of the login's user with the route in id.
func (lg *login) request(key crypto.Signer, id identity.Identity) proxyserver.UserRequest {
	return proxyserver.UserRequest{Public: key.Public(), Identity: lg.identity(id), NotAfter: lg.notAfter}
}

// identity is the login's user with the route in id.
func (lg *login) identity(id identity.Identity) identity.Identity {
	c := lg.lab.config
	traits, _ := json.Marshal(map[string][]string{"logins": c.Logins, "db_users": {"*"}, "db_names": {"*"}})
	id.User, id.Roles, id.Logins, id.Traits = lg.user, c.Roles, append([]string{}, c.Logins...), string(traits)
	id.RouteToCluster, id.TeleportCluster = c.Cluster, c.Cluster
	id.AllowedDBNames, id.AllowedDBUsers = []string{"*"}, []string{"*"}
	if len(c.Kube) > 0 {
		id.KubeUsers, id.KubeGroups = []string{lg.user}, []string{"system:masters"}
		for _, o := range []struct{ users, groups []string }{{c.KubeUsers, c.KubeGroups}, {lg.o.KubeUsers, lg.o.KubeGroups}} {
			if o.users != nil {
				id.KubeUsers = o.users
			}
			if o.groups != nil {
				id.KubeGroups = o.groups
			}
		}
	}
	for _, a := range c.Apps {
		for list, one := range map[*[]string]string{
			&id.AWSRoleARNs: a.role(), &id.AzureIdentities: a.AzureIdentity, &id.GCPServiceAccounts: a.GCPServiceAccount,
		} {
			if one != "" && !slices.Contains(*list, one) {
				*list = append(*list, one)
			}
		}
	}
	id.LoginIP, id.PinnedIP = "127.0.0.1", lg.o.PinnedIP
	return id
}

func (lg *login) dbRoute(db Database) identity.Identity {
	return identity.Identity{
		Usage:    []string{identity.UsageDB},
		Database: identity.Database{Service: db.Name, Protocol: db.Protocol, User: db.User, Name: db.Database},
	}
}

func (lg *login) appRoute(a App) identity.Identity {
	session := make([]byte, 32)
	rand.Read(session)
	return identity.Identity{
		Usage: []string{identity.UsageApps},
		App: identity.App{
			Name: a.Name, SessionID: hex.EncodeToString(session), PublicAddr: appAddr(a.Name), Cluster: lg.lab.config.Cluster,
			AWSRoleARN: a.role(), AzureIdentity: a.AzureIdentity, GCPServiceAccount: a.GCPServiceAccount,
		},
	}
}

func kubeRoute(name string) identity.Identity {
	return identity.Identity{Usage: []string{identity.UsageKube}, KubeCluster: name}
}

// write replaces a file at one stroke, so that a reader finds either the old or
// the new one, and makes the directories above it.
func write(path string, mode os.FileMode, content []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, modeDir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Close(), os.Chmod(f.Name(), mode))
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
