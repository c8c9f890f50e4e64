package profile

import (
	"fmt"
	"strings"
)

// loginCommand renews the login itself.
func (p *Profile) loginCommand() string {
	if p.IdentityFile != "" {
		if p.User == "" {
			return "" // nothing is known of it yet
		}
		return fmt.Sprintf("tctl auth sign --user=%s --out=%s", shellWord(p.User), shellWord(p.IdentityFile))
	}
	command := "tsh login --proxy=" + shellWord(p.WebAddr)
	switch {
	case p.AuthConnector != "" && p.AuthConnector != "local":
		return command + " --auth=" + shellWord(p.AuthConnector)
	case p.User != "":
		return command + " --user=" + shellWord(p.User)
	}
	return command
}

// RenewCommand returns the command line that makes a new certificate of the given
// kind and name in the profile's cluster; empty if none is known.
func (p *Profile) RenewCommand(kind Kind, name string) string {
	return p.renewCommand(kind, p.Cluster, name)
}

// renewCommand renews one certificate of the given kind.
func (p *Profile) renewCommand(kind Kind, cluster, name string) string {
	var command string
	switch kind {
	case KindDB:
		command = "tsh db login"
	case KindApp:
		command = "tsh apps login"
	case KindKube:
		command = "tsh kube login"
	}
	if command == "" || p.IdentityFile != "" {
		return p.loginCommand()
	}
	if p.named && !p.current() {
		command += " --proxy=" + shellWord(p.WebAddr)
	}
	if cluster != p.ownCluster {
		command += " --cluster=" + shellWord(cluster)
	}
	return command + " " + shellWord(name)
}

// current reports whether this is the profile that a command uses which is
// given no proxy.
func (p *Profile) current() bool {
	f, err := readFile(CurrentPath(p.Dir))
	if err != nil {
		return false
	}
	host, _ := splitAddr(strings.TrimSpace(string(f.data)))
	return host == p.Name
}

// what names a certificate in the text of errors.
func what(kind Kind, name string) string {
	switch kind {
	case KindTLS:
		return "login certificate"
	case KindSSH:
		return "SSH certificate"
	case KindDB:
		return fmt.Sprintf("database %q certificate", name)
	case KindApp:
		return fmt.Sprintf("app %q certificate", name)
	case KindKube:
		return fmt.Sprintf("kube cluster %q certificate", name)
	}
	return fmt.Sprintf("%s %q certificate", kind, name)
}

// shellWord quotes s where a POSIX shell would not take it as it is.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./_-", r)
	}
	if s != "" && strings.TrimFunc(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
