package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/kubeconfig"
	"tshx/internal/plain"
	"tshx/internal/program"
	"tshx/internal/tlsroute"
)

type kubeLoginCmd struct {
	Name      string `arg:"" help:"Name of the Kubernetes cluster."`
	Cluster   string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster that it belongs to. Default: the profile's."`
	Context   string `name:"set-context-name" placeholder:"TEMPLATE" help:"Name of the context, in which {{.ClusterName}} and {{.KubeName}} stand for the clusters'. Default: both, with a dash between them."`
	Namespace string `name:"kube-namespace" short:"n" placeholder:"NAME" help:"Namespace of the context. Default: what it had, or the server's default."`
}

// Run writes the kubeconfig that kubectl and others use. The certificate must be
// there: only tsh gets one.
func (c *kubeLoginCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	l, err := g.openOffline(env, c.Cluster)
	if err != nil {
		return err
	}
	if _, err := l.KubeCert(c.Name); err != nil {
		return err
	}
	e, err := c.entry(g, l)
	if err != nil {
		return err
	}
	files, err := kubeconfigFiles(env.Getenv, env.home())
	if err != nil {
		return err
	}
	if err := writeLogin(ctx, files, &e); err != nil {
		return onKubeconfig(err)
	}
	if l.IdentityFile == "" {
		if err := writeCopy(l.Paths().KubeConfig(l.Cluster, c.Name), e); err != nil {
			warn(env, "the profile has no copy of it: %v", err)
		}
	}
	return printText(env.Stdout, fmt.Sprintf("file: %s\ncontext: %s\n%s",
		plain.Copyable(files.Write), plain.Copyable(e.ContextName), c.next(l)))
}

// entry is what is written.
func (c *kubeLoginCmd) entry(g *Globals, l *login) (kubeconfig.Entry, error) {
	none := kubeconfig.Entry{}
	names, err := kubeconfig.ContextNames(c.Context, []kubeconfig.EphemeralCluster{{TeleportCluster: l.Cluster, KubeCluster: c.Name}})
	if err != nil {
		return none, program.Usagef("--set-context-name: %v", err)
	}
	ca, err := l.HostCAsPEM()
	if err != nil {
		return none, err
	}
	exe, err := os.Executable()
	if err != nil {
		return none, fmt.Errorf("find this program's path: %w", err)
	}
	e := kubeconfig.Entry{
		Profile: l.Profile.Name, TeleportCluster: l.Cluster, KubeCluster: c.Name, ContextName: names[0],
		Server: "https://" + kubeAddr(l.Profile), CA: ca, Namespace: c.Namespace, Command: exe,
		Args: []string{"kube", "credentials", "--kube-cluster=" + c.Name, "--teleport-cluster=" + l.Cluster, "--proxy=" + l.WebAddr},
	}
	if l.TLSRouting {
		e.ServerName = tlsroute.KubeServerName(kubeAddr(l.Profile))
	}
	switch {
	case l.IdentityFile != "":
		if info, err := os.Stat(l.IdentityFile); err != nil || !info.Mode().IsRegular() {
			return none, program.Usagef("--identity: %s can be read only once, and kubectl needs it each time; write it to a file", l.IdentityFile)
		}
		e.Args = append(e.Args, "--identity="+absolute(l.IdentityFile))
	case g.Home != "":
		e.Env = []api.ExecEnvVar{{Name: "TELEPORT_HOME", Value: absolute(l.Dir)}}
	}
	return e, nil
}

// writeLogin adds e to the user's kubeconfigs, and gives it namespace and
// impersonation of an earlier login of the same context, whichever file has it.
// Before anything is written all of them are read, as kubectl will do.
func writeLogin(ctx context.Context, files kubeconfig.Files, e *kubeconfig.Entry) error {
	merged, err := kubeconfig.Load(files.Read)
	if err != nil {
		return err
	}
	if one, err := kubeconfig.Load([]string{files.Write}); err == nil && kubeconfig.OfProxy(one) {
		return &ofProxyError{files.Write}
	}
	if err := kubeconfig.Login(merged, *e, true); err != nil {
		return err
	}
	for _, in := range kubeconfig.Teleport(merged) {
		if in.ContextName == e.ContextName {
			e.Namespace, e.As = in.Namespace, in.As
		}
	}
	return kubeconfig.Edit(ctx, files.Write, func(config *api.Config) error { return kubeconfig.Login(config, *e, true) })
}

// ofProxyError says that the kubeconfig in use goes when a local proxy ends.
type ofProxyError struct {
	path string
}

func (e *ofProxyError) Error() string {
	return fmt.Sprintf("%s is the kubeconfig of a local proxy, and goes with it", e.path)
}

// Hint says what to do.
func (*ofProxyError) Hint() string { return "unset KUBECONFIG, or log in from another shell" }

// writeCopy writes a kubeconfig with e alone.
func writeCopy(path string, e kubeconfig.Entry) error {
	config := api.NewConfig()
	if err := kubeconfig.Login(config, e, true); err != nil {
		return err
	}
	return kubeconfig.WriteEphemeral(path, config)
}

// next says how to go on.
func (c *kubeLoginCmd) next(l *login) string {
	needed, known := l.kubeUpgrade()
	switch {
	case needed:
		return "connect: tshx kubectl get pods\n" +
			"or: " + plain.Copyable(proxyKubeLine(c.Cluster, c.Name)) + "\n" +
			"why: something in front of the proxy ends TLS, and kubectl alone does not get past it\n"
	case known:
		return "connect: kubectl get pods\n"
	}
	return "connect: kubectl get pods\n" +
		"or: tshx kubectl get pods, or " + plain.Copyable(proxyKubeLine(c.Cluster, c.Name)) + ", if something in front of the proxy ends TLS\n"
}
