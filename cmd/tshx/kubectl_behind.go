package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd/api"

	"tshx/internal/kubeconfig"
	"tshx/internal/kubeproxy"
	"tshx/internal/localproxy"
)

// kubectlBehind runs kubectl behind a local proxy in this process, which ends
// with it.
func (l *login) kubectlBehind(ctx context.Context, env *Env, inv invocation, base *api.Config, program string) error {
	dir, err := privateDir(env, "kubectl")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ln, err := localproxy.Listen("127.0.0.1:0", false)
	if err != nil {
		return err
	}
	defer ln.Close()
	targets := l.contexts(base)
	var certs []func() (*tls.Certificate, error)
	for _, t := range once(targets) {
		certs = append(certs, t.cert)
	}
	k, err := openKube(env, targets, certs, kubeproxy.Options{Dialer: l.patient(env, l.dialer)})
	if err != nil {
		return err
	}
	defer k.Close()
	config, err := k.ephemeral(base, ln.Addr(), kubeconfig.EphemeralOptions{})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "config")
	if err := kubeconfig.WriteEphemeral(path, config); err != nil {
		return err
	}
	env.Log.Debug("run kubectl behind a local proxy", "path", program, "addr", ln.Addr(), "kubeconfig", path)
	server := &localproxy.Server{Handler: k, Log: env.Log, Admit: newGate(env).Admit, Draining: func(int) { k.Drain() }}
	cmd := clientCommand{args: append([]string{program}, inv.with(path)...), environ: []string{"KUBECONFIG=" + path}}
	before, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	err = serveCommand(ctx, env, server, ln, cmd, func() {
		if after, rerr := os.ReadFile(path); rerr != nil || !bytes.Equal(before, after) {
			warn(env, "kubectl has changed a copy of the kubeconfig, which is gone; run the same without tshx")
		}
	})
	env.EndBySIGINT = env.Interrupted // as kubectl alone would
	return err
}

// privateDir makes a directory, mode 0700, that goes with the session or a
// restart if it is left behind. name says what for. The caller removes it.
func privateDir(env *Env, name string) (string, error) {
	pattern := "tshx-" + name + "-"
	if session := env.Getenv("XDG_RUNTIME_DIR"); session != "" {
		if dir, err := os.MkdirTemp(session, pattern); err == nil {
			return dir, nil
		}
	}
	dir, err := os.MkdirTemp("", pattern)
	if err != nil {
		return "", &noTempError{err}
	}
	return dir, nil
}

// noTempError says that there is no place for a temporary file.
type noTempError struct {
	error
}

func (e *noTempError) Unwrap() error { return e.error }

// Hint says what to do.
func (*noTempError) Hint() string { return "set TMPDIR to a directory that can be written" }
