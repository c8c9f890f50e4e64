package main

import (
	"context"
	"os/exec"
	"strings"

	"tshx/internal/child"
	"tshx/internal/cloudproxy"
	"tshx/internal/localproxy"
	"tshx/internal/program"
)

// envCloudDepth counts how many of us are around a cloud's program.
const envCloudDepth = "TSHX_CLOUD_DEPTH"

// noCloudProgramError says that a program of a cloud is not installed.
type noCloudProgramError struct {
	error
	cloud tokenCloud
}

func (e *noCloudProgramError) Unwrap() error { return e.error }

// Hint says what works without.
func (e *noCloudProgramError) Hint() string {
	return "install it, or use any other client with: tshx proxy " + e.cloud.name
}

// runCloud runs a program of a cloud behind a local proxy in this process, which
// ends with it. change may turn its arguments into others; nil does not.
func (g *Globals) runCloud(ctx context.Context, env *Env, cloud tokenCloud, name string, args []string, change func([]string) []string) error {
	app, cluster, args, err := readCloud(args)
	if err != nil {
		return err
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return &noCloudProgramError{&child.NotFoundError{Program: name}, cloud}
	}
	if err := deeper(env, envCloudDepth, path, name); err != nil {
		return err
	}
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "version" || args[0] == "--version" {
		return replaceBy(ctx, env, path, append([]string{name}, args...))
	}
	if change != nil {
		args = change(args)
	}
	l, err := g.open(env, cluster)
	if err != nil {
		return err
	}
	a, err := l.tokenApp(cloud, app)
	if err != nil {
		return appBehind(err, name, app != "", args)
	}
	if program.Signalled(ctx) { // the program has not heard of it
		return childExit(program.ExitInterrupted)
	}
	ln, err := localproxy.Listen("127.0.0.1:0", false)
	if err != nil {
		return err
	}
	defer ln.Close()
	p, err := l.openCloud(env, cloud, a, ln.Addr(), nil, cloudproxy.Options{
		Dialer: l.patient(env, l.dialer), Unheard: (&reporter{env: env, what: cloudTitle(cloud.name, []cloudApp{a})}).report, // it shows all others itself
	})
	if err != nil {
		return err
	}
	defer p.Close()
	unsetOthers(p.vars)
	env.Log.Debug("run behind a local proxy", "path", path, "addr", ln.Addr(), "dir", p.dir)
	server := &localproxy.Server{Handler: p, Log: env.Log, Admit: newGate(env).Admit, Draining: func(int) { p.Drain() }}
	err = serveCommand(ctx, env, server, ln, clientCommand{args: append([]string{path}, args...), environ: set(p.vars)}, func() {})
	env.EndBySIGINT = env.Interrupted // as the program alone would
	return err
}

// readCloud takes our flags off the front of args.
func readCloud(args []string) (app, cluster string, rest []string, err error) {
	for len(args) > 0 {
		name, value, has := strings.Cut(args[0], "=")
		var to *string
		switch name {
		case "--app":
			to = &app
		case "--cluster":
			to = &cluster
		case "--":
			return app, cluster, args[1:], nil
		default:
			return app, cluster, args, nil
		}
		if args = args[1:]; !has {
			if len(args) == 0 {
				return "", "", nil, program.Usagef("%s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		if value == "" {
			return "", "", nil, program.Usagef("%s: the value is empty", name)
		}
		*to = value
	}
	return app, cluster, nil, nil
}
