package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/identity"
	"tshx/internal/kubeconfig"
	"tshx/internal/kubeproxy"
	"tshx/internal/localproxy"
	"tshx/internal/plain"
	"tshx/internal/program"
)

type proxyKubeCmd struct {
	Cluster     string   `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the Kubernetes clusters. Default: the profile's."`
	As          string   `placeholder:"USER" help:"Kubernetes user to impersonate. Default with --as-groups: the certificate's only one."`
	AsGroups    []string `name:"as-groups" placeholder:"GROUP" help:"Kubernetes groups to impersonate."`
	Namespace   string   `name:"kube-namespace" short:"n" placeholder:"NAME" help:"Namespace of the contexts. Default: that of kube login, or else the server's."`
	ContextName string   `name:"set-context-name" placeholder:"TEMPLATE" help:"How to call the contexts. Knows {{.ClusterName}} and {{.KubeName}}."`
	Kubeconfig  string   `placeholder:"FILE" env:"TELEPORT_KUBECONFIG" help:"Where to write the kubeconfig, which goes when tshx ends. Default: beside the certificates."`
	Exec        bool     `help:"Run your shell with KUBECONFIG set, and end with it."`
	listenFlags
	Format string `short:"f" enum:"text,json,unix,powershell,command-prompt" default:"text" help:"How to announce the kubeconfig: text, json, or by a line of a shell: unix, powershell or command-prompt."`

	Names []string `arg:"" optional:"" help:"Names of Kubernetes clusters. Default: those of the contexts that kube login wrote. After --: run this command with KUBECONFIG set and end with it."`
}

// Run listens for Kubernetes clients until a signal.
func (c *proxyKubeCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	if err := c.complete(env); err != nil {
		return err
	}
	l, err := g.open(env, c.Cluster)
	if err != nil {
		return err
	}
	files, err := kubeconfigFiles(env.Getenv, env.home())
	if err != nil {
		return err
	}
	base, err := kubeconfig.Load(files.Read)
	if err != nil {
		return onKubeconfig(err)
	}
	var targets []kubeTarget
	if len(c.Names) > 0 {
		targets, err = l.named(c.Names, base)
	} else {
		targets, err = c.fromContexts(env, l, base, files.Read)
	}
	if err == nil {
		err = errors.Join(c.checkNames(targets), c.impersonate(targets))
	}
	if err != nil {
		return err
	}
	for i := range targets {
		targets[i].Namespace = cmp.Or(c.Namespace, targets[i].Namespace)
	}
	return c.serve(ctx, env, c.service(env, l, base, targets))
}

// complete completes the flags of the listener.
func (c *proxyKubeCmd) complete(env *Env) error {
	c.listenFlags.Format, c.listenFlags.Command = c.Format, env.Command
	if _, socket := localproxy.SocketPath(c.Listen); socket {
		return program.Usagef("--listen %s: Kubernetes clients cannot use a socket; leave it out, or name a port", c.Listen)
	}
	if !c.Exec {
		return nil
	}
	if env.Command != nil {
		return program.Usagef("--exec runs your shell, and there is a command after --; use one")
	}
	c.listenFlags.Command = []string{"--", shell(env)}
	return nil
}

// impersonate completes who is impersonated: groups are those of a user, who is
// the certificate's only one if none was named.
func (c *proxyKubeCmd) impersonate(targets []kubeTarget) error {
	if c.As != "" || len(c.AsGroups) == 0 {
		return nil
	}
	var users []string
	for _, t := range targets {
		leaf, err := t.cert()
		if err != nil {
			continue // it may get another one
		}
		id, err := identity.FromCertificate(leaf.Leaf)
		if err != nil {
			return fmt.Errorf("%s certificate: %w", t.title(), err)
		}
		users = append(users, id.KubeUsers...)
	}
	slices.Sort(users)
	users = slices.DeleteFunc(slices.Compact(users), func(user string) bool { return user == "*" })
	if len(users) != 1 {
		return program.Usagef("--as-groups are those of a user; add --as USER")
	}
	c.As = users[0]
	return nil
}

// fromContexts are the targets of the contexts that a login wrote. One of them
// whose certificate is not valid may get a new one while tshx runs.
func (c *proxyKubeCmd) fromContexts(env *Env, l *login, base *api.Config, files []string) ([]kubeTarget, error) {
	targets := l.contexts(base)
	if c.Cluster != "" {
		targets = slices.DeleteFunc(targets, func(t kubeTarget) bool { return t.Cluster != c.Cluster })
	}
	if len(targets) == 0 {
		return nil, l.noContextsError(files)
	}
	if c.ContextName != "" { // then each cluster has one
		all := targets
		targets = once(all)
		for i := range targets {
			t := &targets[i]
			t.Context, t.Namespace, t.As = "", "", kubeconfig.Impersonation{}
			t.login(all, base.CurrentContext)
		}
	}
	var errs []error
	for _, t := range targets {
		if _, err := t.cert(); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(targets) {
		return nil, errs[0]
	}
	for _, err := range errs {
		warn(env, "%s", explain(err))
	}
	return targets, nil
}

// service is the targets as something to listen for.
func (c *proxyKubeCmd) service(env *Env, l *login, base *api.Config, targets []kubeTarget) *service {
	s := &service{login: l, Kind: kindKube, What: titles(once(targets))}
	reporters := map[string]*reporter{}
	var names []string
	for _, t := range once(targets) {
		s.Certs = append(s.Certs, t.certificate())
		reporters[t.id()] = &reporter{env: env, what: t.title()}
		names = append(names, t.Name)
		if t.Cluster != l.Cluster {
			names[len(names)-1] = t.id()
		}
	}
	slices.Sort(names)
	s.Resource = strings.Join(slices.Compact(names), ",")

	file := ephemeralFile{path: c.Kubeconfig}
	var config *api.Config
	s.Open = func(o opening) (opened, error) {
		k, err := openKube(env, targets, o.Certs, kubeproxy.Options{
			Dialer: o.Dialer, Opened: o.Opened, Closed: o.Closed,
			Report: func(c kubeproxy.Cluster, err error) { reporters[c.Teleport+"/"+c.Name].report(err) },
		})
		if err != nil {
			return opened{}, err
		}
		out := opened{Handler: k, Drain: k.Drain, Stop: file.remove, Close: func() { k.Close() }}
		config, err = k.ephemeral(base, o.Addr, kubeconfig.EphemeralOptions{
			As: c.As, AsGroups: c.AsGroups, ContextName: c.ContextName,
		})
		if err == nil {
			err = file.write(env, targets[0].Profile, o.Addr, config)
		}
		return out, err
	}
	s.Announce = func(a *announcement, addr net.Addr) { c.announce(a, config, proxyURL(addr), file.path, targets) }
	return s
}

// checkNames refuses a template that gives the targets' contexts no names of their
// own.
func (c *proxyKubeCmd) checkNames(targets []kubeTarget) error {
	var clusters []kubeconfig.EphemeralCluster
	for _, t := range targets {
		clusters = append(clusters, kubeconfig.EphemeralCluster{TeleportCluster: t.Cluster, KubeCluster: t.Name, ContextName: t.Context})
	}
	if _, err := kubeconfig.ContextNames(c.ContextName, clusters); err != nil {
		return program.Usagef("--set-context-name: %v", err)
	}
	return nil
}

// announce says how clients get in. url is that of the listener.
func (c *proxyKubeCmd) announce(a *announcement, config *api.Config, url, path string, targets []kubeTarget) {
	a.Kubeconfig = &path
	var intro strings.Builder
	fmt.Fprintf(&intro, "%s: kubectl and others get there by this kubeconfig, as long as tshx runs.\n", upper(titles(once(targets))))
	for _, e := range kubeconfig.Teleport(config) {
		if config.Clusters[config.Contexts[e.ContextName].Cluster].ProxyURL != url {
			continue // of somebody else's
		}
		a.Contexts = append(a.Contexts, announcedContext{Cluster: e.TeleportCluster, KubeCluster: e.KubeCluster, Context: e.ContextName})
		mark := ""
		if e.ContextName == config.CurrentContext {
			mark = " (current)"
		}
		fmt.Fprintf(&intro, "  context: %s%s\n", plain.Copyable(e.ContextName), mark)
	}
	a.Intro = intro.String()
	a.Command, a.CommandEnv = []string{"kubectl"}, map[string]string{"KUBECONFIG": path}
	a.CommandLine = notEmpty(assignment("KUBECONFIG="+path) + " kubectl")
	a.Connect = notEmpty(setVariable(c.Format, "KUBECONFIG", path))
	a.Env = []string{"KUBECONFIG=" + path}
}

// titles names targets in words to people.
func titles(targets []kubeTarget) string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = fmt.Sprintf("%q", t.Name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 1 {
		return "kube cluster " + names[0]
	}
	return "kube clusters " + plain.Some(names, ", ")
}

// upper has the first letter of an ASCII text in upper case.
func upper(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
