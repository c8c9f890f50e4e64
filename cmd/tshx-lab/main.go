// Command tshx-lab runs a small access-proxy cluster on this machine to try
// tshx against: a proxy, backends, if wanted a balancer in front, and the home
// directory that a login would have left.
//
//	tshx-lab up             runs until interrupted
//	tshx-lab demo           walks through what tshx does
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130 // a second signal
)

// Env is what a command may use of its process.
type Env struct {
	Stdout io.Writer // the answer
	Stderr io.Writer // talk
}

// CLI is the grammar.
type CLI struct {
	Verbose bool `short:"v" help:"Say on standard error what happens to each connection."`

	Up   upCmd   `cmd:"" help:"Run a proxy with backends until interrupted, and write a login for it."`
	Demo demoCmd `cmd:"" help:"Show ssh, a database and a TCP service through tshx, directly and through a balancer."`
}

const description = `A small access-proxy cluster on loopback, to try tshx against without a real one. Whoever can read its home directory gets a shell as you; it is for this machine only.`

func main() {
	ctx, stop := notifySignals()
	code := run(ctx, &Env{Stdout: os.Stdout, Stderr: os.Stderr}, os.Args[1:])
	stop()
	os.Exit(code)
}

// sameSignal is within what time a second signal counts as the first: timeout(1)
// and others send one to the process and one to its group.
const sameSignal = 200 * time.Millisecond

// notifySignals returns a context that the first SIGINT or SIGTERM ends. The
// second one exits at once. SIGPIPE is ignored, so that a reader of standard
// output who leaves becomes an error like others.
func notifySignals() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ch
		first := time.Now()
		cancel()
		for range ch {
			if time.Since(first) > sameSignal {
				os.Exit(exitInterrupted)
			}
		}
	}()
	return ctx, cancel
}

// exitHelp carries the exit code out of kong, which would end the process.
type exitHelp int

// run parses args, runs the command and returns the exit code.
func run(ctx context.Context, env *Env, args []string) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case exitHelp:
			code = int(r)
		default:
			panic(r)
		}
	}()
	var cli CLI
	parser, err := kong.New(&cli,
		kong.Name("tshx-lab"), kong.Description(description),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(code int) { panic(exitHelp(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(env, &cli))
	if err != nil {
		return fail(env, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		return fail(env, &usageError{fmt.Sprintf("%v; see tshx-lab --help", err)})
	}
	return fail(env, kctx.Run())
}

// log returns the logger that the flags ask for.
func (c *CLI) log(env *Env) *slog.Logger {
	if !c.Verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// usageError is a mistake on the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// errShown is a failure that has been printed already.
var errShown = errors.New("failed")

// fail prints err as one line and returns the exit code.
func fail(env *Env, err error) int {
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errShown) {
		fmt.Fprintf(env.Stderr, "tshx-lab: %s\n", strings.Join(strings.Fields(err.Error()), " "))
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}
