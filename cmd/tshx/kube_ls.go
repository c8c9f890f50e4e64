package main

import (
	"io"
	"strings"
	"time"

	"tshx/internal/kubeconfig"
	"tshx/internal/profile"
)

type kubeListCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"List those of this cluster only."`
	Format  string `short:"f" enum:"text,json,yaml" default:"text" help:"Output format: text, json or yaml."`
}

// listedKube is one Kubernetes cluster in `kube ls`. The keys are stable, and
// those that tsh has too mean the same.
type listedKube struct {
	Name     string            `json:"kube_cluster_name" yaml:"kube_cluster_name"`
	Labels   map[string]string `json:"labels" yaml:"labels"`     // empty: a certificate has none
	Selected bool              `json:"selected" yaml:"selected"` // kubectl goes there if not told otherwise
	Cluster  string            `json:"cluster" yaml:"cluster"`   // that it belongs to
	Users    []string          `json:"users" yaml:"users"`
	Groups   []string          `json:"groups" yaml:"groups"`
	Expires  *time.Time        `json:"expires" yaml:"expires"` // of the certificate; null if unknown
	Valid    bool              `json:"valid" yaml:"valid"`     // it can be used now
	Context  *string           `json:"context" yaml:"context"` // that a login wrote; null without one

	problem string
}

// Run lists the Kubernetes clusters that there are certificates for, valid or not.
func (c *kubeListCmd) Run(env *Env, g *Globals) error {
	l, err := g.openOffline(env, "")
	if err != nil {
		return err
	}
	certs, err := l.Certificates()
	if err != nil && len(certs) == 0 {
		return err
	}
	contexts := l.listedContexts(env)
	list := []listedKube{}
	for _, s := range certs {
		if s.Kind == profile.KindKube && (c.Cluster == "" || s.Cluster == c.Cluster) {
			list = append(list, newListedKube(s, contexts))
		}
	}
	if c.Format != "text" {
		return printFor(env.Stdout, c.Format, list)
	}
	if len(list) == 0 {
		say(env, "no certificate for a Kubernetes cluster; run: tsh kube login NAME")
		return nil
	}
	return listKubes(env.Stdout, list, env.Now())
}

// listedContext is a context of the user's kubeconfigs.
type listedContext struct {
	kubeconfig.Entry
	current bool
}

// listedContexts are those that lead to clusters of the login's proxy. What
// cannot be read has none, and is said.
func (l *login) listedContexts(env *Env) []listedContext {
	files, err := kubeconfigFiles(env.Getenv, env.home())
	if err != nil {
		return nil
	}
	config, err := kubeconfig.Load(files.Read)
	if err != nil {
		warn(env, "no contexts are known: %s", explain(onKubeconfig(err)))
		return nil
	}
	var list []listedContext
	for _, e := range kubeconfig.Teleport(config) {
		if l.owns(e) {
			list = append(list, listedContext{e, e.ContextName == config.CurrentContext})
		}
	}
	return list
}

// newListedKube takes the current context, or else the first one.
func newListedKube(s profile.CertStatus, contexts []listedContext) listedKube {
	k := listedKube{
		Name: s.Name, Labels: map[string]string{}, Cluster: s.Cluster, Valid: s.Err == nil,
		Users: append([]string{}, s.Identity.KubeUsers...), Groups: append([]string{}, s.Identity.KubeGroups...),
	}
	for _, c := range contexts {
		if c.TeleportCluster != s.Cluster || c.KubeCluster != s.Name {
			continue
		}
		k.Selected = k.Selected || c.current
		if written := c.Command != ""; written && (c.current || k.Context == nil) { // others are of a local proxy
			k.Context = &c.ContextName
		}
	}
	if !s.NotAfter.IsZero() {
		end := s.NotAfter.UTC()
		k.Expires = &end
	}
	if s.Err != nil {
		k.problem = s.Problem.String()
	}
	return k
}

func listKubes(w io.Writer, list []listedKube, now time.Time) error {
	var t table
	t.row("NAME", "USERS", "GROUPS", "CLUSTER", "CONTEXT", "SELECTED", "TIME LEFT")
	for _, k := range list {
		context, selected, left := "", "", k.problem
		if k.Context != nil {
			context = *k.Context
		}
		if k.Selected {
			selected = "*"
		}
		if left == "" && k.Expires != nil {
			left = profile.RoundAge(k.Expires.Sub(now))
		}
		row := []string{k.Name, strings.Join(k.Users, ","), strings.Join(k.Groups, ","), k.Cluster, context, selected, left}
		t.row(orDash(row)...)
	}
	return printText(w, t.String())
}
