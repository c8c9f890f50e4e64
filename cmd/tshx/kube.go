package main

import (
	"errors"
	"path/filepath"
	"strings"

	"tshx/internal/kubeconfig"
	"tshx/internal/program"
)

// kubeCmd are the commands about Kubernetes clusters other than the listener,
// which is `tshx proxy kube`.
type kubeCmd struct {
	Login       kubeLoginCmd       `cmd:"" help:"Write a kubeconfig for a Kubernetes cluster that there is a certificate for."`
	List        kubeListCmd        `cmd:"" name:"ls" aliases:"list" help:"List the Kubernetes clusters that there are certificates for."`
	Logout      kubeLogoutCmd      `cmd:"" help:"Remove the certificate of a Kubernetes cluster, and what login has written."`
	Exec        kubeExecCmd        `cmd:"" passthrough:"" help:"Run a command in a pod, as kubectl exec."`
	Credentials kubeCredentialsCmd `cmd:"" hidden:"" help:"Print the certificate of a Kubernetes cluster, for kubectl."`
}

// openOffline loads the login for what makes no connection: there is no public
// certificate to verify.
func (g Globals) openOffline(env *Env, cluster string) (*login, error) {
	g.CAFile, g.Insecure = "", false
	return g.open(env, cluster)
}

// kubeUpgrade reports whether kubectl by itself does not get to the proxy,
// because it takes a connection upgrade; known is false if that takes a test.
func (l *login) kubeUpgrade() (needed, known bool) {
	if !l.TLSRouting || kubeAddr(l.Profile) != l.WebAddr { // a port of its own
		return false, true
	}
	way, known := l.finder.Known()
	return known && way.Upgrade, known
}

// proxyKubeLine is the command that starts a local proxy for a Kubernetes cluster
// of the login's. cluster is what --cluster was.
func proxyKubeLine(cluster, name string) string {
	line := "tshx proxy kube "
	if cluster != "" {
		line += "--cluster=" + quote(cluster) + " "
	}
	return line + quote(name)
}

// kubeconfigFiles are the user's kubeconfigs, or *noHomeError: that of no user is
// not in the current directory.
func kubeconfigFiles(getenv func(string) string, home string) (kubeconfig.Files, error) {
	if home == "" && strings.Trim(getenv("KUBECONFIG"), string(filepath.ListSeparator)) == "" {
		return kubeconfig.Files{}, &noHomeError{errors.New("no place for a kubeconfig"), "KUBECONFIG"}
	}
	return kubeconfig.Paths(getenv, home), nil
}

// kubeconfigError says that a kubeconfig cannot be read or edited.
type kubeconfigError struct {
	err error
}

func (e *kubeconfigError) Error() string { return e.err.Error() }

func (e *kubeconfigError) Unwrap() error { return e.err }

// Hint says what to do.
func (e *kubeconfigError) Hint() string {
	var broken *kubeconfig.ParseError
	var locked *kubeconfig.LockedError
	switch {
	case errors.As(e.err, &locked): // says it itself
		return ""
	case errors.As(e.err, &broken):
		return "correct it, or set KUBECONFIG to another file"
	}
	return "set KUBECONFIG to another file"
}

// otherLoginError says that a login to another cluster is in the way.
type otherLoginError struct {
	*kubeconfig.OtherLoginError
}

func (e *otherLoginError) Unwrap() error { return e.OtherLoginError }

// Hint says what to do.
func (e *otherLoginError) Hint() string {
	return "log out of it, or set KUBECONFIG to another file"
}

// onKubeconfig gives an error of reading or editing kubeconfigs its hint.
func onKubeconfig(err error) error {
	var taken *kubeconfig.TakenError
	var usage *program.UsageError
	var temporary *ofProxyError
	var other *kubeconfig.OtherLoginError
	switch {
	case err == nil, errors.As(err, &usage), errors.As(err, &temporary):
		return err
	case errors.As(err, &taken):
		return &contextTakenError{taken}
	case errors.As(err, &other):
		return &otherLoginError{other}
	}
	return &kubeconfigError{err}
}
