package localca

import (
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
)

// DefaultLeaves is how many certificates are kept where nothing else is said.
// Programs ask for the same few hosts again and again.
const DefaultLeaves = 256

// ErrHost refuses a certificate for a host that is not served.
var ErrHost = errors.New("no certificate for this host")

// LeavesOptions say for which hosts there are certificates.
type LeavesOptions struct {
	// Default are the names and addresses of the certificate for clients that
	// name none: those that know the server by an address never do (RFC 6066,
	// section 3). At least one.
	Default []string
	// Allow reports whether there is one for a host, which is in lower case. Nil
	// allows none but those of Default.
	Allow func(host string) bool
	// Most is how many are kept; zero means DefaultLeaves.
	Most int
}

// Leaves makes a certificate for each host when it is first asked for, and keeps
// it. All have one key.
type Leaves struct {
	ca  *Authority
	o   LeavesOptions
	key *ecdsa.PrivateKey

	mu   sync.Mutex
	made map[string]*tls.Certificate
	age  []string // hosts of made, the oldest first
}

// Leaves returns the certificates for hosts of o.
func (a *Authority) Leaves(o LeavesOptions) (*Leaves, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	if o.Most <= 0 {
		o.Most = DefaultLeaves
	}
	return &Leaves{ca: a, o: o, key: key, made: map[string]*tls.Certificate{}}, nil
}

// Get is for tls.Config.GetCertificate. The error for a host that is not allowed
// is ErrHost.
func (l *Leaves) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if host == "" || net.ParseIP(host) != nil || l.isDefault(host) {
		return l.leaf("", l.o.Default)
	}
	if l.o.Allow == nil || !l.o.Allow(host) {
		return nil, fmt.Errorf("%w: %q", ErrHost, host)
	}
	return l.leaf(host, []string{host})
}

func (l *Leaves) isDefault(host string) bool {
	for _, name := range l.o.Default {
		if strings.EqualFold(name, host) {
			return true
		}
	}
	return false
}

// leaf returns the certificate that is kept by this name, for hosts.
func (l *Leaves) leaf(name string, hosts []string) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cert := l.made[name]; cert != nil {
		return cert, nil
	}
	// A common name has at most 64 characters (RFC 5280, upper bounds): the hosts
	// are in the alternative names only.
	cert, err := l.ca.server("tshx local proxy", hosts, l.key)
	if err != nil {
		return nil, err
	}
	if len(l.age) == l.o.Most {
		delete(l.made, l.age[0])
		l.age = l.age[1:]
	}
	l.made[name], l.age = cert, append(l.age, name)
	return cert, nil
}
