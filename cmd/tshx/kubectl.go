package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/child"
	"tshx/internal/kubeconfig"
	"tshx/internal/program"
)

type kubectlCmd struct {
	Args []string `arg:"" optional:"" name:"args" help:"All of it is kubectl's."`
}

// Run runs kubectl, and ends with its exit code.
func (c *kubectlCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	return g.kubectl(ctx, env, c.Args)
}

type kubeExecCmd struct {
	Args []string `arg:"" optional:"" name:"args" help:"Flags, pod and command, as kubectl exec takes them."`
}

// Run runs kubectl exec.
func (c *kubeExecCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	return g.kubectl(ctx, env, append([]string{"exec"}, c.Args...))
}

// noKubectlError says that kubectl is not installed.
type noKubectlError struct {
	error
}

func (e *noKubectlError) Unwrap() error { return e.error }

// Hint says how to get it, and what works without.
func (*noKubectlError) Hint() string {
	return "install it (https://kubernetes.io/docs/tasks/tools), or use any other client with: tshx proxy kube"
}

// envDepth counts how many of us are around a kubectl: plugins may run us again,
// but a script that is called kubectl and runs us would do so without end.
const (
	envDepth = "TSHX_KUBECTL_DEPTH"
	maxDepth = 8
)

// kubectl runs kubectl with args: straight, or behind a local proxy where it
// could not reach the cluster itself.
func (g *Globals) kubectl(ctx context.Context, env *Env, args []string) error {
	path, err := exec.LookPath("kubectl")
	if err != nil {
		return &noKubectlError{&child.NotFoundError{Program: "kubectl"}}
	}
	depth, _ := strconv.Atoi(env.Getenv(envDepth))
	if depth >= maxDepth {
		return fmt.Errorf("%s runs tshx kubectl again; let PATH find kubectl itself first", path)
	}
	os.Setenv(envDepth, strconv.Itoa(depth+1))
	inv := readInvocation(args)
	l, base, err := g.kubectlLogin(ctx, env, inv)
	if err != nil {
		return err
	}
	if program.Signalled(ctx) { // kubectl has not heard of it
		return childExit(program.ExitInterrupted)
	}
	if l == nil {
		env.Log.Debug("run kubectl straight", "path", path)
		return replaceBy(ctx, env, path, append([]string{"kubectl"}, args...))
	}
	return l.kubectlBehind(ctx, env, inv, base, path)
}

// kubectlLogin returns the login that an invocation needs a local proxy for, or
// nil if it needs none, with the user's configuration.
func (g *Globals) kubectlLogin(ctx context.Context, env *Env, inv invocation) (*login, *api.Config, error) {
	if inv.local {
		return nil, nil, nil
	}
	read := []string{inv.kubeconfig}
	if inv.kubeconfig == "" {
		files, err := kubeconfigFiles(env.Getenv, env.home())
		if err != nil {
			return nil, nil, nil // kubectl has none either
		}
		read = files.Read
	}
	for _, path := range read {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			env.Log.Debug("a kubeconfig that can be read once is left to kubectl", "path", path)
			return nil, nil, nil
		}
	}
	base, err := kubeconfig.Load(read)
	if err != nil {
		env.Log.Debug("kubectl will say it", "err", err)
		return nil, nil, nil
	}
	e, ok := inv.login(base)
	if !ok {
		return nil, nil, nil
	}
	l, err := g.ofEntry(e).open(env, e.TeleportCluster)
	if err != nil {
		return nil, nil, err
	}
	if !l.owns(e) { // nothing says whose it is: its plugin knows
		return nil, nil, nil
	}
	if e.Command == self() { // kubectl would ask us for it, again and again
		if _, err := l.KubeCert(e.KubeCluster); err != nil && !inv.offline() {
			return nil, nil, err
		}
	}
	if !l.kubectlNeedsUpgrade(ctx, env) {
		return nil, nil, nil
	}
	return l, base, nil
}

// straightFor is how long kubectl is sent straight to a proxy without a test: it
// cannot find out by itself that a balancer has come in between.
const straightFor = time.Minute

// kubectlNeedsUpgrade finds out whether kubectl alone does not get to the proxy.
func (l *login) kubectlNeedsUpgrade(ctx context.Context, env *Env) bool {
	needed, known := l.kubeUpgrade()
	switch way, _ := l.finder.Known(); {
	case !known:
		l.finder.Find(ctx)
	case !needed && l.TLSRouting && env.Now().Sub(way.At) > straightFor:
		l.finder.Again(ctx, way, env.Now())
	}
	needed, _ = l.kubeUpgrade()
	return needed
}

// login returns the login among the contexts in config that kubectl will use.
func (inv invocation) login(config *api.Config) (kubeconfig.Entry, bool) {
	name := cmp.Or(inv.context, config.CurrentContext)
	used := api.Context{}
	if context := config.Contexts[name]; context != nil {
		used = *context
	}
	used.Cluster, used.AuthInfo = cmp.Or(inv.cluster, used.Cluster), cmp.Or(inv.user, used.AuthInfo)
	for _, e := range kubeconfig.Teleport(config) {
		context := config.Contexts[e.ContextName]
		if e.Command == "" || inv.server != "" { // it is of a local proxy; kubectl goes elsewhere
			continue
		}
		if e.ContextName == name && inv.cluster+inv.user == "" ||
			inv.cluster+inv.user != "" && context.Cluster == used.Cluster && context.AuthInfo == used.AuthInfo {
			return e, true
		}
	}
	return kubeconfig.Entry{}, false
}

// self is the path of this program, or "".
func self() string {
	path, err := os.Executable()
	if err != nil {
		return ""
	}
	return path
}

// ofEntry are the flags that lead to the login of a kubeconfig's entry. What the
// entry says counts, as it does when kubectl asks for the certificate.
func (g *Globals) ofEntry(e kubeconfig.Entry) *Globals {
	of := *g
	if proxy := e.Flag("proxy"); proxy != "" && host(proxy) != host(g.ProxyAddr) {
		of.ProxyAddr = proxy
	} else if proxy == "" && e.Profile != "" {
		of.ProxyAddr = e.Profile
	}
	if identity := e.Flag("identity"); identity != "" {
		of.Identity = identity
	}
	of.Home = cmp.Or(homeOf(e), of.Home)
	return &of
}
