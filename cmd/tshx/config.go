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
	clusters := trustedClusters(lines, l.Name)
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
	command := []string{exe}
	if g.Home != "" {
		command = append(command, "--home="+absolute(g.Home))
	}
	if g.CAFile != "" {
		command = append(command, "--ca-file="+absolute(g.CAFile))
	}
	if g.Insecure {
		command = append(command, "--insecure")
	}
	command = append(command, "proxy", "ssh", "--cluster="+cluster, "--proxy="+l.WebAddr)
	// OpenSSH expands percent signs in a ProxyCommand.
	line := strings.ReplaceAll(dbproxy.Quote(command), "%", "%%")
	fmt.Fprintf(w, "\nHost *.%s !%s\n    Port %d\n    ProxyCommand %s %%r@%%h:%%p\n", cluster, l.Name, c.Port, line)
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
// file names.
func sshQuote(path string) string {
	return `"` + strings.ReplaceAll(path, "%", "%%") + `"`
}

// trustedClusters finds the clusters in the @cert-authority lines of the proxy:
// "host,cluster,*.cluster".
func trustedClusters(knownHosts []byte, proxy string) []string {
	var clusters []string
	for line := range bytes.Lines(knownHosts) {
		fields := strings.Fields(string(line))
		if len(fields) < 3 || fields[0] != "@cert-authority" {
			continue
		}
		patterns := strings.Split(fields[1], ",")
		if !slices.Contains(patterns, proxy) {
			continue
		}
		for _, p := range patterns {
			if c, ok := strings.CutPrefix(p, "*."); ok && slices.Contains(patterns, c) && !slices.Contains(clusters, c) {
				clusters = append(clusters, c)
			}
		}
	}
	return clusters
}
