// Command tshx-lab runs a small access-proxy cluster on this machine to try
// tshx against: a proxy, backends, if wanted a balancer in front, and the home
// directory that a login would have left.
//
//	tshx-lab up             runs until interrupted
//	tshx-lab agent          serves what the proxy cannot reach
//	tshx-lab link           signs a browser in
//	tshx-lab demo           walks through what tshx does
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"tshx/internal/program"
)

// Exit codes. A second signal exits with program.ExitInterrupted.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// Env is what a command may use of its process.
type Env struct {
	Stdout io.Writer // the answer
	Stderr io.Writer // talk
}

// CLI is the grammar.
type CLI struct {
	Verbose bool `short:"v" help:"Say on standard error what happens to each connection."`

	Up    upCmd    `cmd:"" help:"Run a proxy with backends until interrupted, and write a login for it."`
	Agent agentCmd `cmd:"" help:"Serve what the proxy cannot reach, through a connection that this makes to it."`
	Link  linkCmd  `cmd:"" help:"Print a link to the page of a running lab, which signs a browser in once."`
	Demo  demoCmd  `cmd:"" help:"Show ssh, a database, apps, Kubernetes, AWS and an agent through tshx, directly and through a balancer."`
}

const description = `A small access-proxy cluster on loopback, to try tshx against without a real one. Whoever can read its home directory gets a shell as you; it is for this machine only.`

func main() {
	ctx, stop := program.Signals(context.Background())
	code := run(ctx, &Env{Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

// run parses args, runs the command and returns the exit code.
func run(ctx context.Context, env *Env, args []string) int {
	var cli CLI
	return fail(env, program.Run(ctx, &cli, program.Spec{
		Name: "tshx-lab", Description: description, Stdout: env.Stdout, Stderr: env.Stderr, Bind: []any{env, &cli},
	}, args))
}

// log returns the logger that the flags ask for.
func (c *CLI) log(env *Env) *slog.Logger {
	if !c.Verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// errShown is a failure that has been printed already.
var errShown = errors.New("failed")

// fail prints err as one line and returns the exit code.
func fail(env *Env, err error) int {
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errShown) {
		fmt.Fprintf(env.Stderr, "tshx-lab: %s\n", program.Line(err))
	}
	var usage *program.UsageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}
