package main

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"tshx/internal/program"
)

// CLI is the grammar. Flags keep tsh's names and environment variables where
// tsh has them.
type CLI struct {
	Globals
	kong.Plugins // the commands
}

// command is one command and its struct, in which it is the only field. args
// are those that follow it.
type command struct {
	name string
	new  func(args []string) any
}

var commands = []command{
	{"proxy", func(args []string) any {
		return &struct {
			Proxy proxyCmd `cmd:"" help:"Start a local proxy for one resource."`
		}{proxyCmd{needed(proxyCommands, args)}}
	}},
	{"db", func([]string) any {
		return &struct {
			DB dbCmd `cmd:"" name:"db" help:"Connect to databases and look at them."`
		}{}
	}},
	{"kube", func([]string) any {
		return &struct {
			Kube kubeCmd `cmd:"" name:"kube" help:"Log in to Kubernetes clusters and look at them."`
		}{}
	}},
	{"kubectl", func([]string) any {
		return &struct {
			Kubectl kubectlCmd `cmd:"" name:"kubectl" passthrough:"" help:"Run kubectl, behind a local proxy where it needs one."`
		}{}
	}},
	{"apps", func([]string) any {
		return &struct {
			Apps appsCmd `cmd:"" name:"apps" aliases:"app" help:"Look at applications, and how to use them."`
		}{}
	}},
	{"ssh", func([]string) any {
		return &struct {
			SSH sshCmd `cmd:"" name:"ssh" passthrough:"" help:"Run OpenSSH's ssh to nodes of the cluster."`
		}{}
	}},
	{"scp", func([]string) any {
		return &struct {
			SCP scpCmd `cmd:"" name:"scp" passthrough:"" help:"Run OpenSSH's scp to and from nodes of the cluster."`
		}{}
	}},
	{"sftp", func([]string) any {
		return &struct {
			SFTP sftpCmd `cmd:"" name:"sftp" passthrough:"" help:"Run OpenSSH's sftp with a node of the cluster."`
		}{}
	}},
	{"aws", func([]string) any {
		return &struct {
			AWS awsCmd `cmd:"" name:"aws" passthrough:"" help:"Run the AWS CLI, or another program, behind a local proxy for an AWS application."`
		}{}
	}},
	{"az", func([]string) any {
		return &struct {
			Az azCmd `cmd:"" name:"az" passthrough:"" help:"Run the Azure CLI behind a local proxy for an Azure application."`
		}{}
	}},
	{"gcloud", func([]string) any {
		return &struct {
			Gcloud gcloudCmd `cmd:"" name:"gcloud" passthrough:"" help:"Run the Google Cloud CLI behind a local proxy for a Google Cloud application."`
		}{}
	}},
	{"gsutil", func([]string) any {
		return &struct {
			Gsutil gsutilCmd `cmd:"" name:"gsutil" passthrough:"" help:"Run gsutil behind a local proxy for a Google Cloud application."`
		}{}
	}},
	{"config", func([]string) any {
		return &struct {
			Config configCmd `cmd:"" help:"Print OpenSSH configuration that uses tshx as ProxyCommand."`
		}{}
	}},
	{"status", func([]string) any {
		return &struct {
			Status statusCmd `cmd:"" help:"Show the login, its certificates and how the proxy is reached."`
		}{}
	}},
	{"upgrade", func([]string) any {
		return &struct {
			Upgrade upgradeCmd `cmd:"" name:"upgrade" help:"Look at the way to a proxy."`
		}{}
	}},
	{"version", func([]string) any {
		return &struct {
			Version versionCmd `cmd:"" help:"Print the version."`
		}{}
	}},
}

type proxyCmd struct {
	kong.Plugins // its commands
}

var proxyCommands = []command{
	{"ssh", func([]string) any {
		return &struct {
			SSH proxySSHCmd `cmd:"" name:"ssh" help:"Connect standard input and output to a node, as OpenSSH's ProxyCommand."`
		}{}
	}},
	{"db", func([]string) any {
		return &struct {
			DB proxyDBCmd `cmd:"" name:"db" help:"Listen on loopback for clients of a database."`
		}{}
	}},
	{"kube", func([]string) any {
		return &struct {
			Kube proxyKubeCmd `cmd:"" name:"kube" help:"Listen on loopback for clients of Kubernetes clusters, and give them a kubeconfig."`
		}{}
	}},
	{"aws", func([]string) any {
		return &struct {
			AWS proxyAWSCmd `cmd:"" name:"aws" help:"Listen on loopback for clients of AWS, and give them an environment."`
		}{}
	}},
	{"azure", func([]string) any {
		return &struct {
			Azure proxyAzureCmd `cmd:"" name:"azure" aliases:"az" help:"Listen on loopback for clients of Azure, and give them an environment."`
		}{}
	}},
	{"gcp", func([]string) any {
		return &struct {
			GCP proxyGCPCmd `cmd:"" name:"gcp" aliases:"gcloud" help:"Listen on loopback for clients of Google Cloud, and give them an environment."`
		}{}
	}},
	{"app", func([]string) any {
		return &struct {
			App proxyAppCmd `cmd:"" name:"app" help:"Listen on loopback for clients of an HTTP or TCP application."`
		}{}
	}},
}

// needed returns the structs of those commands that matter to args: if they
// begin with the name of one, nothing that is said or done depends on the
// others, and to make a grammar of all takes a quarter of a start.
func needed(all []command, args []string) kong.Plugins {
	var structs kong.Plugins
	for _, c := range all {
		if len(args) > 0 && args[0] == c.name {
			return kong.Plugins{c.new(args[1:])}
		}
		structs = append(structs, c.new(nil))
	}
	return structs
}

// grammarFor returns the grammar as far as args need it. Flags before the
// command may be in the way if their values stand apart.
func grammarFor(args []string) *CLI {
	for len(args) > 0 && strings.HasPrefix(args[0], "--") && strings.Contains(args[0], "=") {
		args = args[1:]
	}
	return &CLI{Plugins: needed(commands, args)}
}

// cutCommand takes the command off args that is to run beside a listener for any
// number of resources: the parser would take it for more of their names. It is
// returned with the dashes that begin it.
func cutCommand(args []string) (ours, command []string) {
	dashes := slices.Index(args, "--")
	if dashes < 0 {
		return args, nil
	}
	var words []string
	for i := 0; i < dashes && len(words) < 2; i++ {
		switch arg := args[i]; {
		case !strings.HasPrefix(arg, "-"):
			words = append(words, arg)
		case slices.Contains(globalValued, arg):
			i++
		}
	}
	if slices.Equal(words, []string{"proxy", "kube"}) {
		return args[:dashes], args[dashes:]
	}
	return args, nil
}

// globalValued are the flags of Globals whose values may stand apart.
var globalValued = []string{"--proxy", "--home", "--identity", "-i", "--ca-file"}

// Globals are the flags of every command.
type Globals struct {
	ProxyAddr string `name:"proxy" placeholder:"HOST[:PORT]" env:"TELEPORT_PROXY" help:"Address of the proxy; picks the profile. Default: the current profile."`
	Home      string `placeholder:"DIR" env:"TELEPORT_HOME" help:"Directory of the login that tsh left. Default: ~/.tsh."`
	Identity  string `short:"i" placeholder:"FILE" env:"TELEPORT_IDENTITY_FILE" help:"Use this identity file instead of a profile; needs --proxy."`
	CAFile    string `name:"ca-file" placeholder:"FILE" env:"TSHX_CA_FILE" help:"Trust these CAs (PEM) for the proxy's public certificate, besides the system's."`
	Insecure  bool   `help:"Do not verify the proxy's public certificate. Dangerous."`
	Debug     bool   `short:"d" help:"Explain every decision on standard error ($$TELEPORT_DEBUG)."`
}

const description = `Connects ordinary clients (OpenSSH, psql, mysql, redis-cli, browsers, kubectl, aws, ...) to an access proxy that routes by TLS SNI and ALPN, directly or through a layer-7 balancer, with the login that tsh left on disk.`

// run parses args, runs the command and returns the exit code.
func run(ctx context.Context, env *Env, args []string) int {
	args, env.Command = cutCommand(args)
	cli := grammarFor(args)
	return fail(env, program.Run(ctx, cli, program.Spec{
		Name: "tshx", Description: description, Stdout: env.Stdout, Stderr: env.Stderr,
		Bind:   []any{env, &cli.Globals},
		Parsed: func() { env.Log = newLog(env.Stderr, cli.Debug || env.debug()) },
	}, args))
}

// newLog returns the log on standard error: warnings in the form of our other
// lines, or, for --debug, all that was decided and when.
func newLog(w io.Writer, debug bool) *slog.Logger {
	if debug {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	short := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}
	return slog.New(slog.NewTextHandler(prefixed{w}, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: short}))
}

// prefixed names the program before each record, which is one Write.
type prefixed struct {
	io.Writer
}

func (w prefixed) Write(p []byte) (int, error) {
	_, err := w.Writer.Write(append([]byte("tshx: warning: "), p...))
	return len(p), err
}
