package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/alecthomas/kong"
)

// CLI is the grammar. Flags keep tsh's names and environment variables where
// tsh has them.
type CLI struct {
	Globals

	Proxy   proxyCmd   `cmd:"" help:"Start a local proxy for one resource."`
	Config  configCmd  `cmd:"" help:"Print OpenSSH configuration that uses tshx as ProxyCommand."`
	Status  statusCmd  `cmd:"" help:"Show the login, its certificates and how the proxy is reached."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

type proxyCmd struct {
	SSH proxySSHCmd `cmd:"" name:"ssh" help:"Connect standard input and output to a node, as OpenSSH's ProxyCommand."`
	DB  proxyDBCmd  `cmd:"" name:"db" help:"Listen on loopback for clients of a database."`
	App proxyAppCmd `cmd:"" name:"app" help:"Listen on loopback for clients of a TCP application."`
}

// Globals are the flags of every command.
type Globals struct {
	ProxyAddr string `name:"proxy" placeholder:"HOST[:PORT]" env:"TELEPORT_PROXY" help:"Address of the proxy; picks the profile. Default: the current profile."`
	Identity  string `short:"i" placeholder:"FILE" env:"TELEPORT_IDENTITY_FILE" help:"Use this identity file instead of a profile; needs --proxy."`
	CAFile    string `name:"ca-file" placeholder:"FILE" env:"TSHX_CA_FILE" help:"Trust these CAs (PEM) for the proxy's public certificate, besides the system's."`
	Insecure  bool   `help:"Do not verify the proxy's public certificate. Dangerous."`
	Debug     bool   `short:"d" env:"TELEPORT_DEBUG" help:"Explain every decision on standard error."`
}

const description = `Connects ordinary clients (OpenSSH, psql, mysql, redis-cli, ...) to an access proxy that routes by TLS SNI and ALPN, directly or through a layer-7 balancer, with the login that tsh left on disk.`

// exitHelp carries the exit code out of kong, which would end the process.
type exitHelp int

// run parses args and runs the command. It returns the exit code.
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
		kong.Name("tshx"), kong.Description(description),
		kong.Writers(env.Stdout, env.Stderr),
		kong.Exit(func(code int) { panic(exitHelp(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(env, &cli.Globals))
	if err != nil {
		return fail(env, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		return fail(env, usageOf(err))
	}
	env.Log = newLog(env.Stderr, cli.Debug)
	return fail(env, kctx.Run())
}

// usageError is a mistake on the command line.
type usageError struct {
	text string
}

func (e *usageError) Error() string { return e.text }

func usagef(format string, a ...any) error { return &usageError{fmt.Sprintf(format, a...)} }

// usageOf turns a parser's error into one line with the way to help.
func usageOf(err error) error {
	help := "tshx --help"
	var p *kong.ParseError
	if errors.As(err, &p) && p.Context != nil {
		if n := p.Context.Selected(); n != nil {
			help = "tshx " + strings.TrimPrefix(n.Path(), "tshx ") + " --help"
		}
	}
	return usagef("%v; see: %s", err, help)
}

// newLog returns the log on standard error: warnings without a time, or, for
// --debug, all that was decided and when.
func newLog(w io.Writer, debug bool) *slog.Logger {
	if debug {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	noTime := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: noTime}))
}
