// Package profile reads the login that tsh has left on disk: which proxy,
// user and cluster, the certificates with their keys, and the authorities that
// the proxy's own certificates are verified with (docs/protocol.md, "Profile
// directory").
//
//	p, err := profile.Load(profile.Options{})
//	cert, err := p.DBCert("orders")
//
// A login is a home directory, in the layout of v13 to v16 or of v17 and
// later, or one identity file. Certificates and authorities are read from disk
// at every call, so that a new login is seen by what is already running. An
// expired, missing or broken one is a *CertError, whose one line names the
// command that renews it.
//
// The package never prints or talks to the network, and writes nothing: all it
// does to a login is to remove a certificate (RemoveDB, RemoveKube, RemoveApp).
package profile

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tshx/internal/plain"
)

// Options say which login to load. The zero value is the current profile of
// the default directory.
type Options struct {
	// Dir is the home directory. Empty means DefaultDir.
	Dir string
	// Name picks a profile: a proxy's host, host:port or URL. Empty means the
	// current profile. A port replaces that of the profile's web address.
	Name string
	// IdentityFile is read in place of a home directory, of which then
	// nothing is read. It needs Proxy (or Name).
	IdentityFile string
	// Proxy is the web address to use with IdentityFile.
	Proxy string
	// Getenv looks up the environment. Nil means os.Getenv.
	Getenv func(string) string
	// Now is the clock that validity is checked by. Nil means time.Now.
	Now func() time.Time
}

// Profile is one login. Its methods may be called concurrently.
type Profile struct {
	Name string // host of the proxy's web address

	WebAddr  string // host:port; with TLS routing the only address there is
	SSHAddr  string // host:port
	KubeAddr string // host:port, empty when the proxy serves no Kubernetes

	PostgresAddr string // host:port of a listener of its own, mostly empty
	MySQLAddr    string // the same
	MongoAddr    string // the same

	User string
	// Cluster is what the methods look certificates up for: the root cluster
	// or a leaf. A caller may set it, before it shares the profile.
	Cluster string

	Dir          string // home directory; empty with an identity file
	IdentityFile string // empty with a home directory

	TLSRouting bool
	// UpgradeRequired is what the last login found out about the web address;
	// nil when it left no word (see Config), or was for another port.
	UpgradeRequired *bool
	// AuthConnector is how the user logs in; empty or "local" for a password.
	AuthConnector string
	// ModTime is when the profile or identity file was last written.
	ModTime time.Time

	ownCluster string  // Cluster as loaded
	pinned     *bundle // identity from a pipe, which cannot be read twice
	named      bool    // chosen by Options.Name
	getenv     func(string) string
	now        func() time.Time
	pause      func() // replaces the pause before reading again

	chains *cache[[]*x509.Certificate] // nil remembers nothing
	keys   *cache[crypto.Signer]
}

// DefaultDir is TELEPORT_HOME or, without it, the directory .tsh in home. It
// is empty when both are.
func DefaultDir(getenv func(string) string, home string) string {
	if dir := getenv("TELEPORT_HOME"); dir != "" {
		return filepath.Clean(dir)
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".tsh")
}

// Load reads the profile, or the identity file, that o picks. Without one the
// error is ErrNotLoggedIn; an identity file that cannot be used is a
// *CertError. Certificates of a home directory are not read yet.
func Load(o Options) (*Profile, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.IdentityFile != "" {
		return loadIdentityFile(o)
	}
	if o.Dir == "" {
		home, _ := os.UserHomeDir() // without one there is TELEPORT_HOME or no login
		o.Dir = DefaultDir(o.Getenv, home)
	}
	return loadDir(o)
}

func loadDir(o Options) (*Profile, error) {
	host, port, err := chosen(o)
	if err != nil {
		return nil, err
	}
	c, f, err := readConfig(ConfigPath(o.Dir, host))
	if errors.Is(err, fs.ErrNotExist) {
		if lower := strings.ToLower(host); lower != host {
			host = lower // names of hosts have no case, names of files have
			c, f, err = readConfig(ConfigPath(o.Dir, host))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notLoggedIn(o.Dir, host, port)
	}
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	p := &Profile{
		Name: host, Dir: o.Dir, User: c.User, Cluster: c.Cluster,
		WebAddr: withPort(c.WebProxyAddr, "443"), SSHAddr: c.SSHProxyAddr, KubeAddr: c.KubeProxyAddr,
		PostgresAddr: c.PostgresProxyAddr, MySQLAddr: c.MySQLProxyAddr, MongoAddr: c.MongoProxyAddr,
		TLSRouting: c.TLSRoutingEnabled, UpgradeRequired: c.TLSRoutingConnUpgradeRequired,
		AuthConnector: c.AuthConnector, ModTime: f.mod,
		named: o.Name != "", getenv: o.Getenv, now: o.Now,
		chains: &cache[[]*x509.Certificate]{}, keys: &cache[crypto.Signer]{},
	}
	if p.WebAddr == "" {
		p.WebAddr = withPort(host, "443")
	}
	if p.User == "" {
		return nil, fmt.Errorf("profile: %s names no user: %w; run: %s", f.path, ErrNotLoggedIn, p.loginCommand())
	}
	if p.Cluster == "" {
		p.Cluster = host
	}
	p.ownCluster = p.Cluster
	p.usePort(port)
	if p.SSHAddr == "" {
		p.SSHAddr = p.sshDefault()
	}
	return p, nil
}

// chosen is the host, and the port if one was given, of the profile that o
// picks.
func chosen(o Options) (host, port string, err error) {
	name := o.Name
	if name == "" {
		f, err := readFile(CurrentPath(o.Dir))
		if errors.Is(err, fs.ErrNotExist) {
			return "", "", notLoggedIn(o.Dir, "", "")
		}
		if err != nil {
			return "", "", fmt.Errorf("current profile: %w", err)
		}
		if name = strings.TrimSpace(string(f.data)); name == "" {
			return "", "", notLoggedIn(o.Dir, "", "")
		}
	}
	host, port = splitAddr(name)
	return host, port, CheckName("proxy", host)
}

// usePort makes the profile dial another port of the proxy than the login did.
func (p *Profile) usePort(port string) {
	host, old, err := net.SplitHostPort(p.WebAddr)
	if err != nil || port == "" || port == old {
		return
	}
	addr := net.JoinHostPort(host, port)
	if p.TLSRouting {
		for _, a := range []*string{&p.SSHAddr, &p.KubeAddr, &p.PostgresAddr, &p.MySQLAddr, &p.MongoAddr} {
			if *a == p.WebAddr {
				*a = addr
			}
		}
	}
	p.WebAddr, p.UpgradeRequired = addr, nil
}

func (p *Profile) sshDefault() string {
	if p.TLSRouting {
		return p.WebAddr
	}
	host, _ := splitAddr(p.WebAddr)
	return net.JoinHostPort(host, "3023")
}

// Paths names the files of this login. It is of no use with an identity file.
func (p *Profile) Paths() Paths { return Paths{Dir: p.Dir, Proxy: p.Name, User: p.User} }

// Profiles are the hosts of the proxies that dir has a profile for, sorted.
func Profiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), extConfig); ok && name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, err
}

// splitAddr takes a host, host:port or URL apart. The port is empty when none
// is given.
func splitAddr(addr string) (host, port string) {
	if _, rest, ok := strings.Cut(addr, "://"); ok {
		addr, _, _ = strings.Cut(rest, "/")
	}
	if host, port, err := net.SplitHostPort(addr); err == nil {
		return host, port
	}
	return strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]"), ""
}

// withPort is addr as host:port. An empty addr stays empty.
func withPort(addr, port string) string {
	host, own := splitAddr(addr)
	if host == "" {
		return ""
	}
	if own != "" {
		port = own
	}
	return net.JoinHostPort(host, port)
}

func notLoggedIn(dir, host, port string) error {
	names, _ := Profiles(dir) // only for the hint
	proxy := "HOST:PORT"
	if host != "" {
		proxy = shellWord(host)
		if port != "" {
			proxy = shellWord(net.JoinHostPort(host, port))
		}
	}
	login := "tsh login --proxy=" + proxy
	switch nearest := Nearest(host, names); {
	case dir == "":
		return fmt.Errorf("%w (no home directory and no TELEPORT_HOME); run: %s", ErrNotLoggedIn, login)
	case host == "" && len(names) > 0:
		return fmt.Errorf("%w (no current profile in %s); choose one with --proxy=%s, or run: %s",
			ErrNotLoggedIn, dir, plain.Some(names, ", --proxy="), login)
	case host == "":
		return fmt.Errorf("%w (no profile in %s); run: %s", ErrNotLoggedIn, dir, login)
	case nearest != "":
		return fmt.Errorf("%w to %s (did you mean --proxy=%s?); if not, run: %s", ErrNotLoggedIn, host, nearest, login)
	}
	return fmt.Errorf("%w to %s (no profile for it in %s); run: %s", ErrNotLoggedIn, host, dir, login)
}
