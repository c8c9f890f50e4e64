package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"tshx/internal/child"
	"tshx/internal/cloudproxy"
	"tshx/internal/localproxy"
	"tshx/internal/plain"
	"tshx/internal/program"
)

type awsCmd struct {
	Args []string `arg:"" optional:"" name:"args" help:"[--app NAME]... [--endpoint-url] [--exec PROGRAM] come first and are ours; the rest is aws's, or that program's."`
}

// Run runs aws behind a local proxy, and ends with its exit code.
func (c *awsCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	inv, err := readAWS(c.Args)
	if err != nil {
		return err
	}
	path, err := exec.LookPath(inv.program)
	if err != nil {
		err = &child.NotFoundError{Program: inv.program}
		if inv.program == "aws" {
			err = &noAWSError{err}
		}
		return err
	}
	if err := deeper(env, envAWSDepth, path, "aws"); err != nil {
		return err
	}
	if inv.local() {
		return replaceBy(ctx, env, path, append([]string{inv.program}, inv.args...))
	}
	l, err := g.open(env, inv.cluster)
	if err != nil {
		return err
	}
	apps, err := l.cloudApps(cloudAWS, inv.apps)
	if err != nil {
		return appBehind(err, "aws", len(inv.apps) > 0, inv.args)
	}
	if program.Signalled(ctx) { // aws has not heard of it
		return childExit(program.ExitInterrupted)
	}
	if names := cloudAppNames(apps); inv.noProfile(env, names) {
		warn(env, "of several apps each is a profile: add --profile NAME, one of %s", plain.Some(names, ", "))
	}
	return l.awsBehind(ctx, env, inv, apps, path)
}

// awsBehind runs a program behind a local proxy in this process, which ends with
// it.
func (l *login) awsBehind(ctx context.Context, env *Env, inv awsInvocation, apps []cloudApp, path string) error {
	ln, err := localproxy.Listen("127.0.0.1:0", false)
	if err != nil {
		return err
	}
	defer ln.Close()
	a, err := l.openAWS(env, apps, ln.Addr(), nil, cloudproxy.Options{
		Dialer: l.patient(env, l.dialer), Endpoint: inv.endpoint,
		// aws shows all others itself. It asks by HEAD before it copies a file.
		Unheard: (&reporter{env: env, what: cloudTitle(cloudAWS, apps)}).report,
	})
	if err != nil {
		return err
	}
	defer a.Close()
	args := inv.args
	if inv.endpoint && inv.program == "aws" { // older ones do not know AWS_ENDPOINT_URL
		args = append([]string{"--endpoint-url", a.url}, args...)
	}
	unsetOthers(a.vars)
	env.Log.Debug("run behind a local proxy", "path", path, "addr", ln.Addr(), "dir", a.dir)
	server := &localproxy.Server{Handler: a, Log: env.Log, Admit: newGate(env).Admit, Draining: func(int) { a.Drain() }}
	err = serveCommand(ctx, env, server, ln, clientCommand{args: append([]string{path}, args...), environ: set(a.vars)}, func() {})
	env.EndBySIGINT = env.Interrupted // as aws alone would
	return err
}

// awsInvocation is a command line of tshx aws.
type awsInvocation struct {
	apps     []string
	cluster  string // "" is the profile's
	program  string
	endpoint bool
	args     []string // of the program
}

// readAWS takes our flags off the front of args.
func readAWS(args []string) (awsInvocation, error) {
	inv := awsInvocation{program: "aws"}
	for len(args) > 0 {
		name, value, has := strings.Cut(args[0], "=")
		switch name {
		case "--endpoint-url", "-e":
			if has || len(args) > 1 && strings.Contains(args[1], "://") {
				inv.args = args // it is aws's
				return inv, nil
			}
			inv.endpoint, args = true, args[1:]
			continue
		case "--app", "--exec", "--cluster":
		case "--":
			inv.args = args[1:]
			return inv, nil
		default:
			inv.args = args
			return inv, nil
		}
		if args = args[1:]; !has {
			if len(args) == 0 {
				return inv, program.Usagef("%s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		if value == "" {
			return inv, program.Usagef("%s: the value is empty", name)
		}
		switch name {
		case "--app":
			inv.apps = append(inv.apps, value)
		case "--exec":
			inv.program = value
		case "--cluster":
			inv.cluster = value
		}
	}
	return inv, nil
}

// appBehind is the error of an app that was not named, which says so where --app
// stands in args: those are the program's.
func appBehind(err error, command string, named bool, args []string) error {
	var usage *program.UsageError
	ours := func(arg string) bool { return arg == "--app" || strings.HasPrefix(arg, "--app=") }
	if named || !errors.As(err, &usage) || !slices.ContainsFunc(args, ours) {
		return err
	}
	return program.Usagef("%v; it comes first: tshx %s --app NAME ...", err, command)
}

// awsLocal are the commands of aws that ask no service.
var awsLocal = []string{"help", "--help", "configure", "history", "--version"}

// local reports whether it needs no local proxy.
func (inv awsInvocation) local() bool {
	if inv.program != "aws" {
		return false
	}
	if len(inv.args) == 0 || slices.Contains(awsLocal, inv.args[0]) {
		return true
	}
	// "help" behind commands asks for theirs; elsewhere it is a name.
	last := len(inv.args) - 1
	return inv.args[last] == "help" && !slices.ContainsFunc(inv.args[:last], func(arg string) bool {
		return strings.HasPrefix(arg, "-") || strings.Contains(arg, "/")
	})
}

// noProfile reports whether aws is run with several apps, and not told which: it
// would only say that it has no credentials.
func (inv awsInvocation) noProfile(env *Env, apps []string) bool {
	named := func(arg string) bool { return arg == "--profile" || strings.HasPrefix(arg, "--profile=") }
	return len(apps) > 1 && inv.program == "aws" && !slices.ContainsFunc(inv.args, named) &&
		!slices.Contains(apps, env.Getenv("AWS_PROFILE")) && !slices.Contains(apps, env.Getenv("AWS_DEFAULT_PROFILE"))
}

// noAWSError says that the AWS CLI is not installed.
type noAWSError struct {
	error
}

func (e *noAWSError) Unwrap() error { return e.error }

// Hint says how to get it, and what works without.
func (*noAWSError) Hint() string {
	return "install the AWS CLI (https://aws.amazon.com/cli/), or use any other client with: tshx proxy aws"
}

// envAWSDepth counts how many of us are around aws.
const envAWSDepth = "TSHX_AWS_DEPTH"

// deeper ends a script that is called like a program and runs us to run it, which
// would go on without end. variable counts how often.
func deeper(env *Env, variable, path, name string) error {
	depth, _ := strconv.Atoi(env.Getenv(variable))
	if depth >= maxDepth {
		return fmt.Errorf("%s runs tshx %s again; let PATH find %s itself first", path, name, name)
	}
	return os.Setenv(variable, strconv.Itoa(depth+1))
}
