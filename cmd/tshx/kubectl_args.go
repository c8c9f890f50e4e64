package main

import (
	"net"
	"slices"
	"strings"
)

// invocation is what matters here of kubectl's arguments.
type invocation struct {
	args       []string
	kubeconfig string   // of the last --kubeconfig; "" without
	context    string   // of the last --context; "" without
	cluster    string   // in place of the context's; "" without
	user       string   // in place of the context's; "" without
	server     string   // URL in place of the cluster's; "" without
	local      bool     // it needs no cluster, and may change the kubeconfig
	dry        bool     // --dry-run by kubectl alone
	words      []string // that are no flags: command and arguments
}

// valued are the flags of all kubectl commands whose values may stand apart.
var valued = []string{
	"as", "as-group", "as-uid", "as-user-extra", "cache-dir", "certificate-authority", "client-certificate", "client-key",
	"cluster", "context", "kubeconfig", "kuberc", "log-flush-frequency", "namespace", "n", "password", "profile",
	"profile-output", "proxy-url", "request-timeout", "server", "s", "tls-server-name", "token", "user", "username", "v", "vmodule",
}

// localCommands are those that never ask a cluster.
var localCommands = []string{"completion", "config", "help", "kuberc", "kustomize", "options", "plugin"}

// readInvocation looks at the flags before the dashes. What it does not know it
// takes for a flag without a value: in front of the command there are none such.
func readInvocation(args []string) invocation {
	inv := invocation{args: args}
	client, help := false, false
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		name, value, has := flag(args[i])
		if name == "" {
			inv.words = append(inv.words, args[i])
			continue
		}
		if !has && slices.Contains(valued, name) && i+1 < len(args) {
			i++
			value = args[i]
		}
		switch name {
		case "kubeconfig":
			inv.kubeconfig = value
		case "context":
			inv.context = value
		case "cluster":
			inv.cluster = value
		case "user":
			inv.user = value
		case "server", "s":
			inv.server = value
		case "client":
			client = value != "false"
		case "help", "h":
			help = true
		case "dry-run":
			inv.dry = value == "" || value == "client"
		}
	}
	inv.local = len(inv.words) == 0 || help || slices.Contains(localCommands, inv.words[0]) || inv.words[0] == "version" && client
	return inv
}

// offline reports whether it may need no cluster: a dry run, or a program that
// kubectl runs as a command of its own.
func (inv invocation) offline() bool {
	if inv.dry {
		return true
	}
	name := "kubectl"
	for _, word := range inv.words {
		if name += "-" + strings.ReplaceAll(word, "-", "_"); installed(name) {
			return true
		}
	}
	return false
}

// flag splits --name=value and -n=value. name is "" for what is no flag.
func flag(arg string) (name, value string, has bool) {
	short := strings.TrimPrefix(arg, "-")
	if short == arg || short == "" {
		return "", "", false
	}
	return strings.Cut(strings.TrimPrefix(short, "-"), "=")
}

// with returns the arguments with another kubeconfig in the place of the one
// they name.
func (inv invocation) with(path string) []string {
	args := slices.Clone(inv.args)
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		switch name, _, has := flag(args[i]); {
		case has && name == "kubeconfig":
			args[i] = "--kubeconfig=" + path
		case slices.Contains(valued, name) && !has:
			i++
			if name == "kubeconfig" && i < len(args) {
				args[i] = path
			}
		}
	}
	return args
}

// host is the lower-case host of host:port, or of a host alone.
func host(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		addr = h
	}
	return strings.ToLower(addr)
}
