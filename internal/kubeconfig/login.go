package kubeconfig

import (
	"errors"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd/api"
)

// TakenError says that an entry of the user's has the name that ours needs.
type TakenError struct {
	Kind string // "context", "cluster" or "user"
	Name string
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("the kubeconfig has a %s %q that no login wrote", e.Kind, e.Name)
}

// OtherLoginError says that a login to another cluster has the name that ours
// needs.
type OtherLoginError struct {
	Name                         string // of its context
	TeleportCluster, KubeCluster string
}

func (e *OtherLoginError) Error() string {
	return fmt.Sprintf("the context %q of kube cluster %q in cluster %q has the same name", e.Name, e.KubeCluster, e.TeleportCluster)
}

// Login adds e to config, in place of an earlier login of the same name, also
// one that tsh made. Cluster and user are called as Name says, the context as e
// says. Namespace and impersonation of an earlier login stay. The error is a
// *TakenError or an *OtherLoginError where something else would be overwritten.
//
// Selected makes it the current context. The one before, if it is not of a
// login, is marked for Logout.
func Login(config *api.Config, e Entry, selected bool) error {
	name := Name(e.TeleportCluster, e.KubeCluster)
	if e.ContextName == "" {
		e.ContextName = name
	}
	if e.TeleportCluster == "" || e.KubeCluster == "" {
		return errors.New("a login needs the names of both clusters")
	}
	if err := owners(config).free(e.ContextName, name); err != nil {
		return err
	}
	for _, other := range Teleport(config) {
		// Two pairs of names with dashes in them may give one, and two proxies may
		// have clusters of the same names. A context of this name was meant if it is
		// not the default one.
		context := config.Contexts[other.ContextName]
		shares := context.Cluster == name || context.AuthInfo == name
		same := other.TeleportCluster == e.TeleportCluster && other.KubeCluster == e.KubeCluster
		proxy := other.Profile == e.Profile || other.Profile == "" && other.Server == e.Server
		if other.ContextName == e.ContextName && (same || e.ContextName != name) || same && proxy {
			continue
		}
		if shares || other.ContextName == e.ContextName {
			return &OtherLoginError{Name: other.ContextName, TeleportCluster: other.TeleportCluster, KubeCluster: other.KubeCluster}
		}
	}
	old := config.Contexts[e.ContextName]
	cluster, user, context := api.NewCluster(), api.NewAuthInfo(), api.NewContext()
	cluster.Server, cluster.TLSServerName, cluster.CertificateAuthorityData = e.Server, e.ServerName, e.CA
	user.Exec = &api.ExecConfig{
		APIVersion: versionBeta, Command: e.Command, Args: e.Args, Env: e.Env,
		InteractiveMode: api.IfAvailableExecInteractiveMode,
	}
	context.Cluster, context.AuthInfo, context.Namespace = name, name, e.Namespace
	was := config.AuthInfos[name] // another context's, if it is not ours
	if old != nil {
		was = config.AuthInfos[old.AuthInfo]
		maps.Copy(context.Extensions, old.Extensions)
		if e.Namespace == "" {
			context.Namespace = old.Namespace
		}
	}
	if was != nil && e.As.User == "" {
		e.As = impersonation(was)
	}
	e.As.set(user)
	for _, ext := range []map[string]runtime.Object{cluster.Extensions, user.Extensions, context.Extensions} {
		if err := e.setLabels(ext); err != nil {
			return err
		}
	}
	if selected {
		mark(config)
		config.CurrentContext = e.ContextName
	}
	config.Clusters[name], config.AuthInfos[name], config.Contexts[e.ContextName] = cluster, user, context
	if old != nil {
		sweep(config, old)
	}
	return nil
}

// Logout removes the logins that which wants removed, and returns them. Clusters
// and users go with the last context that has them. Where the current context
// goes, the one from before the login comes back.
func Logout(config *api.Config, which func(Entry) bool) []Entry {
	var removed []Entry
	for _, e := range Teleport(config) {
		if !which(e) {
			continue
		}
		removed = append(removed, e)
		context := config.Contexts[e.ContextName]
		delete(config.Contexts, e.ContextName)
		sweep(config, context)
	}
	for _, e := range removed {
		if e.ContextName == config.CurrentContext {
			config.CurrentContext = marked(config)
			unmark(config)
		}
	}
	if len(removed) > 0 && len(Teleport(config)) == 0 {
		unmark(config)
	}
	return removed
}

// sweep removes the cluster and the user of a context that is gone or changed,
// if no other context has them.
func sweep(config *api.Config, gone *api.Context) {
	cluster, user := true, true
	for _, c := range config.Contexts {
		cluster = cluster && c.Cluster != gone.Cluster
		user = user && c.AuthInfo != gone.AuthInfo
	}
	if cluster {
		delete(config.Clusters, gone.Cluster)
	}
	if user {
		delete(config.AuthInfos, gone.AuthInfo)
	}
}

// mark marks the current context, and no other, unless it is of a login.
func mark(config *api.Config) {
	current := config.Contexts[config.CurrentContext]
	if current == nil || owners(config).contexts[config.CurrentContext] {
		return
	}
	unmark(config)
	if current.Extensions == nil {
		current.Extensions = map[string]runtime.Object{}
	}
	current.Extensions[extSelected] = nil
}

// marked returns the name of the context that is marked, or "".
func marked(config *api.Config) string {
	found := ""
	for name, c := range config.Contexts {
		if _, ok := c.Extensions[extSelected]; ok && (found == "" || name < found) {
			found = name
		}
	}
	return found
}

func unmark(config *api.Config) {
	for _, c := range config.Contexts {
		delete(c.Extensions, extSelected)
	}
}

// owned are the names of a configuration's entries that a login wrote.
type owned struct {
	config                    *api.Config
	contexts, clusters, users map[string]bool
}

// owners returns what in config is of logins: their contexts, with their
// clusters and users, and what says so itself.
func owners(config *api.Config) owned {
	o := owned{config, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, e := range Teleport(config) {
		context := config.Contexts[e.ContextName]
		o.contexts[e.ContextName], o.clusters[context.Cluster], o.users[context.AuthInfo] = true, true, true
	}
	for name, c := range config.Clusters {
		o.clusters[name] = o.clusters[name] || labels(c.Extensions).KubeCluster != ""
	}
	for name, u := range config.AuthInfos {
		o.users[name] = o.users[name] || labels(u.Extensions).KubeCluster != ""
	}
	return o
}

// free reports whether a login can have the names, as a *TakenError.
func (o owned) free(context, name string) error {
	if o.config.Contexts[context] != nil && !o.contexts[context] {
		return &TakenError{"context", context}
	}
	if o.config.Clusters[name] != nil && !o.clusters[name] {
		return &TakenError{"cluster", name}
	}
	if o.config.AuthInfos[name] != nil && !o.users[name] {
		return &TakenError{"user", name}
	}
	return nil
}
