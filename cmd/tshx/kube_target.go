package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/kubeconfig"
	"tshx/internal/kubeproxy"
	"tshx/internal/plain"
	"tshx/internal/profile"
	"tshx/internal/program"
)

// kubeTarget is a Kubernetes cluster to be served by a local proxy.
type kubeTarget struct {
	*profile.Profile        // its Cluster is the target's
	Name             string // in there
	Context          string // how it is called in a kubeconfig; "" is not decided
	Namespace        string // "" is the server's default
	As               kubeconfig.Impersonation
}

// target returns the Kubernetes cluster of this name in a Teleport cluster.
func (l *login) target(teleport, name string) kubeTarget {
	p := *l.Profile
	p.Cluster = teleport
	return kubeTarget{Profile: &p, Name: name}
}

// kubeAddr is the host:port that kubeconfigs have for it.
func kubeAddr(p *profile.Profile) string { return cmp.Or(p.KubeAddr, p.WebAddr) }

// title names the cluster in words to people.
func (t kubeTarget) title() string { return fmt.Sprintf("kube cluster %q", t.Name) }

// cert reads its certificate.
func (t kubeTarget) cert() (*tls.Certificate, error) { return t.KubeCert(t.Name) }

// certificate is the target's as a service shows it.
func (t kubeTarget) certificate() certificate {
	c := certificate{What: t.title(), Resource: t.Name, Read: t.cert, Renew: t.RenewCommand(profile.KindKube, t.Name)}
	if leaf, err := t.cert(); err == nil {
		c.Expires = leaf.Leaf.NotAfter
	}
	return c
}

// id tells it from all others.
func (t kubeTarget) id() string { return t.Cluster + "/" + t.Name }

func (t kubeTarget) same(o kubeTarget) bool { return t.Cluster == o.Cluster && t.Name == o.Name }

// contexts are the logins in config that are of this profile, as targets: those
// that a login wrote, and not those of a local proxy.
func (l *login) contexts(config *api.Config) []kubeTarget {
	var targets []kubeTarget
	for _, e := range kubeconfig.Teleport(config) {
		if e.Command == "" || !l.owns(e) {
			continue
		}
		t := l.target(e.TeleportCluster, e.KubeCluster)
		t.Context, t.Namespace, t.As = e.ContextName, e.Namespace, e.As
		targets = append(targets, t)
	}
	return targets
}

// owns reports whether a login in a kubeconfig is of this profile. Where it does
// not say so, its server does.
func (l *login) owns(e kubeconfig.Entry) bool {
	if home := homeOf(e); home != "" && l.Dir != "" && absolute(home) != absolute(l.Dir) {
		return false
	}
	if identity := e.Flag("identity"); identity != "" && absolute(identity) != absolute(l.IdentityFile) {
		return false
	}
	if e.Profile != "" {
		return strings.EqualFold(e.Profile, l.Profile.Name)
	}
	addr := strings.TrimPrefix(e.Server, "https://")
	return addr == kubeAddr(l.Profile) || addr == l.WebAddr
}

// homeOf is the home directory that an entry's plugin is given, or "".
func homeOf(e kubeconfig.Entry) string {
	for _, v := range e.Env {
		if v.Name == "TELEPORT_HOME" {
			return v.Value
		}
	}
	return ""
}

// named are the targets of these names in the login's cluster, each once, with
// the namespace that their login has in config. All must have a certificate that
// is valid.
func (l *login) named(names []string, config *api.Config) ([]kubeTarget, error) {
	var targets []kubeTarget
	contexts := l.contexts(config)
	for _, name := range names {
		t := l.target(l.Cluster, name)
		if slices.ContainsFunc(targets, t.same) {
			continue
		}
		if _, err := t.cert(); err != nil {
			return nil, err
		}
		t.login(contexts, config.CurrentContext)
		targets = append(targets, t)
	}
	return targets, nil
}

// once are targets without further contexts of one cluster.
func once(targets []kubeTarget) (each []kubeTarget) {
	for _, t := range targets {
		if !slices.ContainsFunc(each, t.same) {
			each = append(each, t)
		}
	}
	return each
}

// login takes namespace and impersonation from the target's login: the current
// context's, or else the only one's. Of several others none says more.
func (t *kubeTarget) login(contexts []kubeTarget, current string) {
	var of []kubeTarget
	for _, c := range contexts {
		if t.same(c) {
			of = append(of, c)
		}
	}
	if i := slices.IndexFunc(of, func(c kubeTarget) bool { return c.Context == current }); i >= 0 {
		of = of[i : i+1]
	}
	if len(of) == 1 {
		t.Namespace, t.As = of[0].Namespace, of[0].As
	}
}

// noContextsError says that no kubeconfig names a cluster of this profile.
func (l *login) noContextsError(files []string) error {
	in := strings.Join(files, ", ")
	names, err := l.Kubes()
	switch {
	case err != nil:
		return err
	case len(names) == 0:
		return &profile.CertError{
			What: "kube certificate", Path: l.kubeDir(), Problem: profile.Missing, Renew: "tsh kube login NAME",
		}
	}
	return program.Usagef("no context of %s in %s; name a cluster: there are certificates for %s", l.Profile.Name, in, plain.Some(names, ", "))
}

// kubeDir is where the certificates are.
func (l *login) kubeDir() string {
	if l.IdentityFile != "" {
		return l.IdentityFile
	}
	return l.Paths().ClusterDir(profile.KindKube, l.Cluster)
}

// localKube is a local proxy for targets.
type localKube struct {
	*kubeproxy.Proxy
	targets []kubeTarget
	index   []int // of each target's cluster in the proxy
}

// openKube starts the proxy, which is told the rest of its options. certs are
// those to show to each cluster, in the order of once. The caller closes it.
func openKube(env *Env, targets []kubeTarget, certs []func() (*tls.Certificate, error), o kubeproxy.Options) (*localKube, error) {
	k, each := &localKube{targets: targets}, once(targets)
	for i, t := range each {
		o.Clusters = append(o.Clusters, kubeproxy.Cluster{
			Teleport: t.Cluster, Name: t.Name, Addr: kubeAddr(t.Profile), Route: kubeproxy.Route(t.Name, t.WebAddr, certs[i]),
		})
	}
	for _, t := range targets {
		k.index = append(k.index, slices.IndexFunc(each, t.same))
	}
	o.Explain, o.Log, o.Now = explain, env.Log, env.Now
	var err error
	k.Proxy, err = kubeproxy.New(o)
	return k, err
}

// ephemeral is base with the targets as they are reached by the proxy, which
// listens at addr. The rest of o is the caller's.
func (k *localKube) ephemeral(base *api.Config, addr net.Addr, o kubeconfig.EphemeralOptions) (*api.Config, error) {
	access := k.Access()
	for i, t := range k.targets {
		o.Clusters = append(o.Clusters, kubeconfig.EphemeralCluster{
			TeleportCluster: t.Cluster, KubeCluster: t.Name, ContextName: t.Context, Namespace: t.Namespace, As: t.As,
			Server: k.URL(k.index[i]), ServerName: k.ServerName(k.index[i]), CA: access.CA, Cert: access.Cert, Key: access.Key,
		})
	}
	o.Profile = k.targets[0].Profile.Name
	o.ProxyURL = proxyURL(addr)
	config, err := kubeconfig.Ephemeral(base, o)
	var taken *kubeconfig.TakenError
	if errors.As(err, &taken) {
		err = &contextTakenError{taken}
	}
	return config, err
}

// proxyURL is how programs of this machine reach a local proxy that listens at
// addr. A listener for 0.0.0.0 says that it is one for [::], and both are reached
// by IPv4, also where there is no ::1.
func proxyURL(addr net.Addr) string {
	if at, ok := addr.(*net.TCPAddr); ok && at.IP.IsUnspecified() {
		return fmt.Sprintf("http://127.0.0.1:%d", at.Port)
	}
	return "http://" + addr.String()
}

// contextTakenError says that the user's own entry is in the way.
type contextTakenError struct {
	*kubeconfig.TakenError
}

func (e *contextTakenError) Unwrap() error { return e.TakenError }

// Hint says what to do.
func (e *contextTakenError) Hint() string {
	if e.Kind == "context" {
		return "choose another name with --set-context-name"
	}
	return "rename it, or set KUBECONFIG to another file"
}
