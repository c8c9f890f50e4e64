package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/kubeconfig"
	"tshx/internal/plain"
	"tshx/internal/profile"
	"tshx/internal/program"
)

type kubeLogoutCmd struct {
	Name    string `arg:"" optional:"" help:"Name of the Kubernetes cluster. Default: the only one there is."`
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster that it belongs to. Default: the profile's."`
}

// Run removes what there is of a Kubernetes cluster: the contexts that logins
// wrote, and its certificate, valid or not. A part that is not there, or cannot
// be removed, keeps no other one.
func (c *kubeLogoutCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	l, err := g.openOffline(env, c.Cluster)
	if err != nil {
		return err
	}
	files, ferr := kubeconfigFiles(env.Getenv, env.home())
	written, werr := l.writtenContexts(files.Read)
	name := c.Name
	if name == "" {
		name, err = l.onlyKube(written)
	}
	var removed []string
	if err == nil {
		removed, err = l.RemoveKube(name)
	}
	contexts, cerr := l.removeContexts(ctx, written, name)
	var done strings.Builder
	for _, what := range append(contexts, removed...) {
		fmt.Fprintf(&done, "removed: %s\n", plain.Copyable(what))
	}
	others := errors.Join(ferr, werr, cerr)
	var missing *profile.CertError
	switch {
	case errors.Is(err, profile.ErrFixed) && len(contexts) > 0:
		err = nil
	case errors.As(err, &missing) && missing.Problem == profile.Missing:
		err = nil
		if done.Len() == 0 && others == nil {
			sought := *missing
			sought.Renew = ""
			say(env, "nothing to remove: "+sought.Error())
		}
	}
	return errors.Join(err, others, printText(env.Stdout, done.String()))
}

// writtenContexts are those that logins to clusters of the login's wrote into
// files.
type writtenContexts struct {
	file  string
	kubes []string
}

// writtenContexts looks into each of files. One that cannot be read has none,
// and is in the error.
func (l *login) writtenContexts(files []string) (list []writtenContexts, err error) {
	for _, file := range files {
		config, lerr := kubeconfig.Load([]string{file})
		if lerr != nil {
			err = errors.Join(err, lerr)
			continue
		}
		w := writtenContexts{file: file}
		for _, e := range kubeconfig.Teleport(config) {
			if l.wrote(e) {
				w.kubes = append(w.kubes, e.KubeCluster)
			}
		}
		list = append(list, w)
	}
	return list, onKubeconfig(err)
}

// wrote reports whether a login to a cluster of this one's wrote e, and not a
// local proxy.
func (l *login) wrote(e kubeconfig.Entry) bool {
	return e.Command != "" && e.TeleportCluster == l.Cluster && l.owns(e)
}

// onlyKube is the one to take when none was named. Without any the error is a
// *profile.CertError.
func (l *login) onlyKube(written []writtenContexts) (string, error) {
	names, err := l.Kubes()
	for _, w := range written {
		names = append(names, w.kubes...)
	}
	slices.Sort(names)
	switch names = slices.Compact(names); {
	case len(names) == 1:
		return names[0], nil
	case len(names) > 1:
		return "", program.Usagef("name a Kubernetes cluster; there are %s", plain.Some(names, ", "))
	case err != nil:
		return "", err
	}
	return "", &profile.CertError{What: "kube certificate", Path: l.kubeDir(), Problem: profile.Missing}
}

// removeContexts removes those of one Kubernetes cluster, and says what it has
// removed. Files without one are not written.
func (l *login) removeContexts(ctx context.Context, written []writtenContexts, name string) (removed []string, err error) {
	for _, w := range written {
		if !slices.Contains(w.kubes, name) {
			continue
		}
		var gone []kubeconfig.Entry
		eerr := kubeconfig.Edit(ctx, w.file, func(config *api.Config) error {
			gone = kubeconfig.Logout(config, func(e kubeconfig.Entry) bool { return l.wrote(e) && e.KubeCluster == name })
			return nil
		})
		if eerr != nil {
			err = errors.Join(err, onKubeconfig(eerr))
			continue
		}
		for _, e := range gone {
			removed = append(removed, fmt.Sprintf("context %s of %s", e.ContextName, w.file))
		}
	}
	return removed, err
}
