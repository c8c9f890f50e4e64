package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"tshx/internal/profile"
	"tshx/internal/program"
	"tshx/internal/sshproxy"
)

// nodePort is the port of nodes that the configuration names where nobody else
// does. It means that none was asked for: the proxy then finds the node by its
// name, whatever its port.
const nodePort = 3022

// sshConfig is what a configuration for OpenSSH is made of. One is needed, and
// not just options on the command line: jumps (-J) run ssh again, which gets
// the same file, but none of the options.
type sshConfig struct {
	*Globals
	*profile.Profile
	exe      string           // this program
	cert     *ssh.Certificate // nil if there is none that can be used
	hosts    []byte           // lines of known_hosts
	includes []string         // configuration that counts after ours
	login    string           // that counts more than the configuration's; "" without
	osUser   string
}

// noHostAuthorityError says that no host of a cluster can be verified.
type noHostAuthorityError struct {
	cluster string
	known   []string
}

func (e *noHostAuthorityError) Error() string {
	return fmt.Sprintf("%v of cluster %q", errNoHostAuthority, e.cluster)
}

func (e *noHostAuthorityError) Unwrap() error { return sshproxy.ErrNoAuthority }

// Hint says what to do.
func (e *noHostAuthorityError) Hint() string {
	return fmt.Sprintf("the login knows %s; log in to the other with: tsh login %s", strings.Join(e.known, ", "), e.cluster)
}

var errNoHostAuthority = errors.New("the login has no SSH host authority")

// knownHosts returns the lines that verify the nodes. Plain names are those of
// nodes of the cluster in use; names of other clusters carry theirs.
func (c *sshConfig) knownHosts() (text string, clusters []string, err error) {
	proxy := c.Name
	if c.IdentityFile != "" {
		proxy = "" // its lines are all of one proxy, and need not name it
	}
	clusters, lines := authorities(c.hosts, proxy)
	if len(lines[c.Cluster]) == 0 {
		return "", nil, &noHostAuthorityError{c.Cluster, clusters}
	}
	var b strings.Builder
	for _, cluster := range clusters {
		patterns := cluster + ",*." + cluster
		if cluster == c.Cluster {
			patterns = "*"
			for _, other := range clusters {
				if other != cluster && !strings.HasSuffix(cluster, "."+other) {
					patterns += ",!*." + other + ",![*." + other + "]:*"
				}
			}
		}
		for _, key := range lines[cluster] {
			fmt.Fprintf(&b, "@cert-authority %s %s\n", patterns, key)
		}
	}
	return b.String(), clusters, nil
}

// text is the configuration. The first value of a keyword counts: what leads to
// the nodes is ours, all else the user's, and defaults come last. What was given
// on the command line counts before all of it.
func (c *sshConfig) text(f *sshFiles, clusters []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by tshx ssh for %q; it makes it again where it is needed.\n", c.Name)
	var flags []string
	if c.Debug {
		flags = append(flags, "--debug")
	}
	flags = append(flags, "--default-port="+strconv.Itoa(nodePort))
	proxy := func(pattern, cluster string) {
		command := c.sshProxyCommand(c.exe, cluster, c.WebAddr, flags...)
		// OpenSSH puts no brackets around the address that %h may be, and a shell
		// reads them.
		fmt.Fprintf(&b, "Host %s\n    ProxyCommand %s '%%r@[%%h]:%%p'\n", pattern, command)
	}
	// Of two that match, such as one within the other, the longer name is meant.
	slices.SortStableFunc(clusters, func(a, b string) int { return len(b) - len(a) })
	for _, cluster := range clusters {
		if cluster != c.Cluster {
			proxy("*."+cluster, cluster)
		}
	}
	proxy("*", c.Cluster)
	option := func(name string, value ...string) { fmt.Fprintf(&b, "    %s %s\n", name, strings.Join(value, " ")) }
	option("ProxyUseFdpass", "no")
	option("IdentityFile", sshQuote(f.key))
	if f.cert != "" {
		option("CertificateFile", sshQuote(f.cert))
	}
	// ssh adds keys to the user's file, and never to this one.
	option("GlobalKnownHostsFile", append([]string{sshWord(f.knownHosts)}, systemKnownHosts...)...)
	option("StrictHostKeyChecking", "yes") // nodes have certificates, so there is nobody to ask
	// A connection that is shared must not be one to the node of the same name in
	// another cluster.
	option("ControlPath", f.controlPath)
	if c.login != "" {
		option("User", sshWord(c.login))
	}
	for _, path := range c.includes {
		fmt.Fprintf(&b, "Host *\nInclude %s\n", path)
	}
	fmt.Fprintf(&b, "Host *\n    Port %d\n", nodePort)
	if user := c.firstLogin(); user != "" {
		option("User", sshWord(user))
	}
	return b.String()
}

// firstLogin is who to be where nobody says so; empty if OpenSSH is to decide. What
// the cluster has put into the certificate must not end a quote or a line.
func (c *sshConfig) firstLogin() string {
	if c.cert == nil {
		return ""
	}
	fit := ssh.Certificate{ValidPrincipals: slices.DeleteFunc(slices.Clone(c.cert.ValidPrincipals), func(p string) bool { return !sshLogin(p) })}
	user, err := sshproxy.Login(&fit, "", c.osUser)
	if err != nil {
		return ""
	}
	return user
}

// check refuses what cannot be in one line of a configuration, or between quotes.
func (c *sshConfig) check() error {
	if !sshLogin(c.login) {
		return program.Usagef("TELEPORT_LOGIN: %q cannot be a login", c.login)
	}
	for _, word := range append([]string{c.exe, absolute(c.Home), absolute(c.Identity), absolute(c.CAFile), c.Dir, c.IdentityFile, c.WebAddr}, c.includes...) {
		if strings.ContainsAny(word, "\r\n") {
			return program.Usagef("%q: there is a line break in it, which no configuration of OpenSSH can have", word)
		}
	}
	return nil
}

// systemKnownHosts are OpenSSH's own defaults.
var systemKnownHosts = []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}

// includes returns the arguments of Include that stand for the configuration
// that the program at path would read by itself with -F config, or without it if
// config is empty.
func includes(config, path string) ([]string, error) {
	switch config {
	case "none":
		return nil, nil
	case "":
		return []string{"~/.ssh/config", sshGlob(systemConfig(path))}, nil
	}
	if _, err := os.Stat(config); err != nil {
		return nil, program.Usagef("-F: %v", err)
	}
	return []string{sshGlob(absolute(config))}, nil
}

// systemConfig is where the ssh at path, or the one beside it, has its
// configuration for all users.
func systemConfig(path string) string {
	const usual = "/etc/ssh/ssh_config"
	if data := os.Getenv("ProgramData"); filepath.Separator == '\\' && data != "" {
		return filepath.Join(data, "ssh", "ssh_config")
	}
	// One that was built for a place of its own, such as /opt/homebrew.
	own := filepath.Join(filepath.Dir(filepath.Dir(path)), usual)
	if _, err := os.Stat(own); err == nil {
		return own
	}
	return usual
}

// sshGlob quotes a path for Include, which expands patterns in it.
func sshGlob(path string) string {
	if filepath.Separator != '\\' {
		path = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`).Replace(path)
	}
	return sshWord(path)
}

// tag is short and the same for all that one login does in one cluster, and for
// nothing else.
func (c *sshConfig) tag() string {
	return digest(absolute(cmp.Or(c.IdentityFile, c.Dir)), c.WebAddr, c.User, c.Cluster)[:sshTag]
}
