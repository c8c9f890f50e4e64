package kubeconfig

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd/api"
)

// EphemeralOptions say what the configuration of a local proxy has.
type EphemeralOptions struct {
	Profile string // the proxy's host: its logins are left out of the result
	// ProxyURL is the local forward proxy, such as http://127.0.0.1:1234.
	ProxyURL string
	Clusters []EphemeralCluster // at least one

	As       string   // user to impersonate in place of the clusters', or ""
	AsGroups []string // with As; groups to impersonate
	// Namespace and ContextName are for the clusters that have none of their own.
	// "" is the server's default namespace. ContextName is a Go template that
	// knows {{.ClusterName}}, of the Teleport cluster, and {{.KubeName}}; "" is as
	// Name says.
	Namespace, ContextName string
}

// EphemeralCluster is one cluster that the local proxy serves. There may be
// several with different contexts.
type EphemeralCluster struct {
	TeleportCluster, KubeCluster string
	ContextName, Namespace       string // "" is as EphemeralOptions say
	As                           Impersonation

	Server     string // https URL
	ServerName string // by which the local listener knows the cluster
	CA         []byte // PEM, of the local listener
	Cert, Key  []byte // PEM, which the local listener asks for
}

// ErrSameContext says that a template gives two clusters one name.
var ErrSameContext = errors.New("two clusters get one context name: use {{.KubeName}}")

// ContextNames returns the names of the clusters' contexts, in their order: their
// own, or else what the template gives, which is as Name says where it is "".
func ContextNames(text string, clusters []EphemeralCluster) ([]string, error) {
	if text == "" {
		text = "{{.ClusterName}}-{{.KubeName}}"
	}
	t, err := template.New("context name").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range clusters {
		var name strings.Builder
		name.WriteString(c.ContextName)
		values := map[string]string{"ClusterName": c.TeleportCluster, "KubeName": c.KubeCluster}
		if c.ContextName == "" {
			err = t.Execute(&name, values)
		}
		switch {
		case err != nil:
			return nil, err
		case name.Len() == 0:
			return nil, errors.New("the template of the context name gives an empty one")
		case slices.Contains(names, name.String()):
			return nil, fmt.Errorf("%w: %q", ErrSameContext, name.String())
		}
		names = append(names, name.String())
	}
	return names, nil
}

// Ephemeral returns a configuration for what the local proxy serves. It keeps the
// user's other entries in base, which is as Load returned it and stays as it is.
// The current context is base's if the same cluster is served, else the first.
// The error is a *TakenError where one of the user's own has a needed name.
func Ephemeral(base *api.Config, o EphemeralOptions) (*api.Config, error) {
	names, err := ContextNames(o.ContextName, o.Clusters)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("a kubeconfig for a local proxy needs a cluster")
	}
	var current Entry
	for _, e := range Teleport(base) {
		if e.ContextName == base.CurrentContext {
			current = e
		}
	}
	config := base.DeepCopy()
	Logout(config, o.replaces)
	config.CurrentContext = names[0]
	if slices.Contains(names, base.CurrentContext) {
		current = Entry{}
		config.CurrentContext = base.CurrentContext
	}
	for i, c := range o.Clusters {
		if err := owners(config).free(names[i], Name(c.TeleportCluster, c.KubeCluster)); err != nil {
			return nil, err
		}
		if c.TeleportCluster == current.TeleportCluster && c.KubeCluster == current.KubeCluster {
			config.CurrentContext = names[i]
		}
	}
	for i, c := range o.Clusters {
		if err := o.add(config, c, names[i]); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// replaces reports whether a login is of the profile. Where tsh left no word of
// that, its server tells.
func (o EphemeralOptions) replaces(e Entry) bool {
	return e.Profile == o.Profile && e.Profile != "" || slices.ContainsFunc(o.Clusters, func(c EphemeralCluster) bool {
		return e.Profile == "" && e.Server == c.Server || e.TeleportCluster == c.TeleportCluster && e.KubeCluster == c.KubeCluster
	})
}

func (o EphemeralOptions) add(config *api.Config, c EphemeralCluster, contextName string) error {
	cluster, user, context := api.NewCluster(), api.NewAuthInfo(), api.NewContext()
	cluster.Server, cluster.ProxyURL = c.Server, o.ProxyURL
	cluster.TLSServerName, cluster.CertificateAuthorityData = c.ServerName, c.CA
	user.ClientCertificateData, user.ClientKeyData = c.Cert, c.Key
	as := c.As
	if o.As != "" || o.AsGroups != nil {
		as = Impersonation{User: o.As, Groups: o.AsGroups}
	}
	as.set(user)
	name := Name(c.TeleportCluster, c.KubeCluster)
	for n := 2; config.Clusters[name] != nil || config.AuthInfos[name] != nil; n++ { // of another context, or cluster
		name = fmt.Sprintf("%s-%d", Name(c.TeleportCluster, c.KubeCluster), n)
	}
	context.Cluster, context.AuthInfo, context.Namespace = name, name, cmp.Or(c.Namespace, o.Namespace)
	e := Entry{Profile: o.Profile, TeleportCluster: c.TeleportCluster, KubeCluster: c.KubeCluster}
	for _, ext := range []map[string]runtime.Object{cluster.Extensions, user.Extensions, context.Extensions} {
		if err := e.setLabels(ext); err != nil {
			return err
		}
	}
	config.Clusters[name], config.AuthInfos[name], config.Contexts[contextName] = cluster, user, context
	return nil
}

// WriteEphemeral writes config to the file at path, mode 0600, in place of what
// is there, whole or not at all. Directories that are missing get mode 0700.
func WriteEphemeral(path string, config *api.Config) error {
	t, err := treeOf(config)
	if err != nil {
		return err
	}
	data, err := rewrite(nil, nil, t)
	if err != nil {
		return err
	}
	return file{path: path}.replace(data)
}

// IsEphemeral reports whether the file at path may be replaced by WriteEphemeral:
// one that Ephemeral has made, or one that is empty or not there. The error is
// that of reading it, a *ParseError for one that is broken.
func IsEphemeral(path string) (bool, error) {
	config, err := Load([]string{path})
	if err != nil {
		return false, err
	}
	return OfProxy(config) || len(config.Clusters)+len(config.Contexts)+len(config.AuthInfos) == 0, nil
}

// OfProxy reports whether Ephemeral has made a configuration.
func OfProxy(config *api.Config) bool {
	for _, c := range config.Clusters {
		if c.ProxyURL != "" && labels(c.Extensions).KubeCluster != "" {
			return true
		}
	}
	return false
}

// UsesProxy reports whether one of its clusters is reached through the local
// proxy with this URL.
func UsesProxy(config *api.Config, url string) bool {
	for _, c := range config.Clusters {
		if c.ProxyURL == url {
			return true
		}
	}
	return false
}
