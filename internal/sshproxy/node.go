package sshproxy

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Node names a node as the proxy's subsystem takes it.
type Node struct {
	Host    string
	Port    string // empty lets the proxy find the node by its name
	Cluster string // empty means the proxy's own
}

// String is the node for people.
func (n Node) String() string {
	s := n.Host
	if n.Port != "" {
		s = net.JoinHostPort(n.Host, n.Port)
	}
	if n.Cluster != "" {
		s += " in cluster " + n.Cluster
	}
	return s
}

// subsystem is "proxy:host:port@cluster" (docs/protocol.md, "SSH").
func (n Node) subsystem() string {
	port := n.Port
	if port == "" {
		port = "0"
	}
	s := "proxy:" + net.JoinHostPort(n.Host, port)
	if n.Cluster != "" {
		s += "@" + n.Cluster
	}
	return s
}

// ParseTarget splits [user@]host[:port]. The user may hold an @ itself; an IPv6
// address with a port needs brackets.
func ParseTarget(target string) (user string, n Node, err error) {
	s, bad := target, fmt.Errorf("%q is not [user@]host[:port]", target)
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		if user, s = s[:i], s[i+1:]; user == "" {
			return "", Node{}, bad
		}
	}
	n.Host = s
	if h, p, err := net.SplitHostPort(s); err == nil {
		n.Host, n.Port = h, p
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		n.Host = s[1 : len(s)-1]
	}
	if n.Host == "" || strings.ContainsAny(n.Host, " \t\r\n\x00") {
		return "", Node{}, bad
	}
	if _, err := strconv.ParseUint(n.Port, 10, 16); n.Port != "" && err != nil {
		return "", Node{}, fmt.Errorf("%q is not a port number", n.Port)
	}
	return user, n, nil
}

// Tidy cuts from the host what only OpenSSH's configuration needs to match on:
// a trailing .proxyHost, then a trailing .cluster.
func (n Node) Tidy(proxyHost string) Node {
	n.Host = cutDomain(n.Host, proxyHost)
	n.Host = cutDomain(n.Host, n.Cluster)
	return n
}

func cutDomain(host, domain string) string {
	if cut, ok := strings.CutSuffix(host, "."+domain); ok && domain != "" && cut != "" {
		return cut
	}
	return host
}

// LoginError says that the certificate does not allow the wanted login.
type LoginError struct {
	Login   string
	Allowed []string
}

func (e *LoginError) Error() string {
	if len(e.Allowed) == 0 {
		return "your SSH certificate allows no login"
	}
	return fmt.Sprintf("your SSH certificate does not allow login %q; it allows %s", e.Login, strings.Join(e.Allowed, ", "))
}

// Login picks the user for the connection to the proxy, who must be a principal
// of the certificate. want is what the user asked for; if that is empty the
// operating system's user is taken where the certificate allows it, and the
// certificate's first login otherwise.
func Login(cert *ssh.Certificate, want, osUser string) (string, error) {
	// Principals that begin with a dash are markers of the cluster's own.
	var logins []string
	for _, p := range cert.ValidPrincipals {
		if !strings.HasPrefix(p, "-") {
			logins = append(logins, p)
		}
	}
	switch {
	case want != "" && slices.Contains(cert.ValidPrincipals, want):
		return want, nil
	case want != "":
		return "", &LoginError{Login: want, Allowed: logins}
	case slices.Contains(logins, osUser):
		return osUser, nil
	case len(logins) > 0:
		return logins[0], nil
	case len(cert.ValidPrincipals) > 0:
		return cert.ValidPrincipals[0], nil
	}
	return "", &LoginError{Login: osUser}
}
