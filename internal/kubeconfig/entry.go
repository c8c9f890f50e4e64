package kubeconfig

import (
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Names of the extensions of what a login writes (docs/protocol.md,
// "Kubernetes").
const (
	extProfile  = "kubeconfig.teleport.dev/profile-name"
	extTeleport = "kubeconfig.teleport.dev/teleport-cluster-name"
	extKube     = "teleport.kube.name"
	// extSelected marks the context that was the current one before a login
	// selected its own. Its value is null.
	extSelected = "teleport-prev-selec-ctx"
)

// Entry is what a login to a Kubernetes cluster writes: a cluster, a user that
// asks an exec plugin for its certificate, and a context of both.
type Entry struct {
	Profile         string // the proxy's host; "" in Teleport's result if not known
	TeleportCluster string
	KubeCluster     string
	ContextName     string // "" in Login's argument means Name's

	Server     string        // https URL
	ServerName string        // tls-server-name
	CA         []byte        // PEM
	Namespace  string        // "" is the server's default; in Login, what the context had
	As         Impersonation // as whom to act; without a user, in Login, as it was

	Command string // the exec plugin, which speaks v1beta1
	Args    []string
	Env     []api.ExecEnvVar
}

// Impersonation says as whom Kubernetes is to treat the user. Nothing is as who
// they are.
type Impersonation struct {
	User, UID string
	Groups    []string
	Extra     map[string][]string
}

// impersonation is what a user of a configuration says.
func impersonation(u *api.AuthInfo) Impersonation {
	as := Impersonation{User: u.Impersonate, UID: u.ImpersonateUID, Groups: u.ImpersonateGroups}
	if len(u.ImpersonateUserExtra) > 0 {
		as.Extra = u.ImpersonateUserExtra
	}
	return as
}

// set makes a user of a configuration say it.
func (as Impersonation) set(u *api.AuthInfo) {
	u.Impersonate, u.ImpersonateUID, u.ImpersonateGroups, u.ImpersonateUserExtra = as.User, as.UID, as.Groups, as.Extra
}

// Name returns how the entries of a Kubernetes cluster are called.
func Name(teleportCluster, kubeCluster string) string { return teleportCluster + "-" + kubeCluster }

// Teleport returns the logins in config, in the order of their contexts' names:
// those of tshx and of tsh from v14 on. A context is one by its extensions, or
// by a user whose exec plugin is "kube credentials".
func Teleport(config *api.Config) []Entry {
	var entries []Entry
	for _, name := range slices.Sorted(maps.Keys(config.Contexts)) {
		context := config.Contexts[name]
		e := labels(context.Extensions)
		if user := config.AuthInfos[context.AuthInfo]; user != nil {
			e.complete(labels(user.Extensions))
			e.As = impersonation(user)
			if user.Exec != nil {
				e.Command, e.Args, e.Env = user.Exec.Command, user.Exec.Args, user.Exec.Env
				e.complete(arguments(user.Exec.Args))
			}
		}
		if e.TeleportCluster == "" || e.KubeCluster == "" {
			continue
		}
		e.ContextName, e.Namespace = name, context.Namespace
		if cluster := config.Clusters[context.Cluster]; cluster != nil {
			e.complete(labels(cluster.Extensions))
			e.Server, e.ServerName, e.CA = cluster.Server, cluster.TLSServerName, cluster.CertificateAuthorityData
		}
		entries = append(entries, e)
	}
	return entries
}

// Flag returns the value that Args have for a flag, or "".
func (e Entry) Flag(name string) string {
	for i, arg := range e.Args {
		if value, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			return value
		}
		if arg == "--"+name && i+1 < len(e.Args) {
			return e.Args[i+1]
		}
	}
	return ""
}

// complete fills in what e does not say of whose it is.
func (e *Entry) complete(other Entry) {
	for _, f := range []struct{ to, from *string }{
		{&e.Profile, &other.Profile},
		{&e.TeleportCluster, &other.TeleportCluster},
		{&e.KubeCluster, &other.KubeCluster},
	} {
		if *f.to == "" {
			*f.to = *f.from
		}
	}
}

// labels returns an entry of what the extensions of one object say.
func labels(ext map[string]runtime.Object) Entry {
	text := func(name string) (s string) {
		if u, ok := ext[name].(*runtime.Unknown); ok {
			_ = json.Unmarshal(u.Raw, &s) // of another type is as good as none
		}
		return s
	}
	return Entry{Profile: text(extProfile), TeleportCluster: text(extTeleport), KubeCluster: text(extKube)}
}

// setLabels makes ext say whose object it is in.
func (e Entry) setLabels(ext map[string]runtime.Object) error {
	for name, value := range map[string]string{extProfile: e.Profile, extTeleport: e.TeleportCluster, extKube: e.KubeCluster} {
		if value == "" {
			continue
		}
		raw, err := json.Marshal(value)
		if err != nil {
			return err
		}
		ext[name] = &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON}
	}
	return nil
}

// arguments returns an entry of what the arguments of an exec plugin say, if
// they are "kube credentials".
func arguments(args []string) Entry {
	verb := slices.Index(args, "credentials")
	if verb < 1 || args[verb-1] != "kube" {
		return Entry{}
	}
	e := Entry{Args: args}
	e.TeleportCluster, e.KubeCluster, e.Profile = e.Flag("teleport-cluster"), e.Flag("kube-cluster"), e.Flag("proxy")
	if host, _, err := net.SplitHostPort(e.Profile); err == nil {
		e.Profile = host
	}
	return e
}
