package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tshx/internal/dbproxy"
)

type configCmd struct {
	Port uint16 `help:"SSH port of the nodes." default:"3022"`
}

// Run prints OpenSSH configuration for all clusters the login trusts.
func (c *configCmd) Run(env *Env, g *Globals) error {
	l, err := g.open(env, "")
	if err != nil {
		return err
	}
	if l.IdentityFile != "" {
		return errors.New("config needs a login made by tsh login: OpenSSH takes no certificate out of an identity file")
	}
	lines, err := l.HostKeyLines()
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's path: %w", err)
	}
	clusters, _ := authorities(lines, l.Name)
	if len(clusters) == 0 {
		clusters = []string{l.Cluster}
	}
	w := bufio.NewWriter(env.Stdout)
	fmt.Fprintf(w, "# Begin tshx configuration for %s\n", l.Name)
	for _, cluster := range clusters {
		c.block(w, g, l, exe, cluster)
	}
	fmt.Fprintf(w, "# End tshx configuration for %s\n", l.Name)
	return w.Flush()
}

// block writes the two sections of one cluster. The certificate is the root
// cluster's for all of them.
func (c *configCmd) block(w io.Writer, g *Globals, l *login, exe, cluster string) {
	key, cert, knownHosts := l.SSHFiles()
	fmt.Fprintf(w, "\nHost *.%s %s\n", cluster, l.Name)
	for _, o := range [][2]string{{"UserKnownHostsFile", knownHosts}, {"IdentityFile", key}, {"CertificateFile", cert}} {
		if o[1] != "" {
			fmt.Fprintf(w, "    %s %s\n", o[0], sshQuote(absolute(o[1])))
		}
	}
	line := g.sshProxyCommand(exe, cluster, l.WebAddr)
	fmt.Fprintf(w, "\nHost *.%s !%s\n    Port %d\n    ProxyCommand %s %%r@%%h:%%p\n", cluster, l.Name, c.Port, line)
}

// sshProxyCommand begins the ProxyCommand of ssh_config(5) that leads to nodes
// of a cluster: all but the node.
func (g *Globals) sshProxyCommand(exe, cluster, proxy string, flags ...string) string {
	command := []string{exe}
	for _, f := range [][2]string{{"--home=", g.Home}, {"--identity=", g.Identity}, {"--ca-file=", g.CAFile}} {
		if f[1] != "" {
			command = append(command, f[0]+absolute(f[1]))
		}
	}
	if g.Insecure {
		command = append(command, "--insecure")
	}
	command = append(append(command, "proxy", "ssh", "--cluster="+cluster, "--proxy="+proxy), flags...)
	// OpenSSH expands percent signs in a ProxyCommand.
	return strings.ReplaceAll(dbproxy.Quote(command), "%", "%%")
}

// absolute makes a path work from any directory. One that cannot be made so
// stays as it is.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// sshQuote quotes a path for ssh_config(5), which also expands percent signs in
// the file names of keys and of users' known hosts. OpenSSH before 8.7 knows no
// backslashes.
func sshQuote(path string) string { return sshWord(strings.ReplaceAll(path, "%", "%%")) }

// sshWord quotes a word for ssh_config(5).
func sshWord(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		// A backslash stands for itself, except before one of these.
		if s[i] == '"' || s[i] == '\\' && (i+1 == len(s) || strings.IndexByte("\\\"'", s[i+1]) >= 0) {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String() + `"`
}

// authorities are the @cert-authority lines of the proxy, "host,cluster,*.cluster
// key", by cluster. proxy may be empty for a file that has only its lines.
func authorities(knownHosts []byte, proxy string) (clusters []string, lines map[string][]string) {
	lines = map[string][]string{}
	for line := range bytes.Lines(knownHosts) {
		fields := strings.Fields(string(line))
		if len(fields) < 4 || fields[0] != "@cert-authority" {
			continue
		}
		patterns := strings.Split(fields[1], ",")
		if proxy != "" && !slices.Contains(patterns, proxy) {
			continue
		}
		for _, p := range patterns {
			if c, ok := strings.CutPrefix(p, "*."); ok && slices.Contains(patterns, c) {
				if !slices.Contains(clusters, c) {
					clusters = append(clusters, c)
				}
				lines[c] = append(lines[c], strings.Join(fields[2:4], " "))
			}
		}
	}
	return clusters, lines
}
