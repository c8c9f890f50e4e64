package main

import (
	"context"
	"fmt"
	"strings"

	"tshx/internal/dbproxy"
	"tshx/internal/localproxy"
	"tshx/internal/program"
)

type dbConnectCmd struct {
	dbFlags
	pageFlag
	Name string   `arg:"" optional:"" help:"Name of the database in the cluster. Default: the only one there is a certificate for."`
	Args []string `arg:"" optional:"" passthrough:"partial" name:"-- args" help:"More arguments for the client."`
}

// noClientError says that none of a database's clients is installed.
type noClientError struct {
	title  string
	client dbproxy.Client
	proxy  string // the command that works without it
}

func (e *noClientError) Error() string {
	return fmt.Sprintf("%s, the client of %s, is not installed", e.client.Program, e.title)
}

// Hint says how to get one, and what works without.
func (e *noClientError) Hint() string {
	return fmt.Sprintf("install it (%s), or use any other client with: %s", e.client.Install, e.proxy)
}

// Run runs the client and ends with its exit code. The tunnel is in this
// process and ends with it too.
func (c *dbConnectCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	args, err := c.clientArgs()
	if err != nil {
		return err
	}
	d, err := g.openDatabase(env, c.Name, c.Cluster, c.dbFlags)
	if err != nil {
		return err
	}
	if missing := d.Engine.Missing(d.Endpoint); missing != "" {
		return program.Usagef("the certificate of %s leaves the database %s open; add --db-%s", d.title(), missing, missing)
	}
	d.AnyPage = c.AnyPage
	client, ok := d.Engine.Client(d.Endpoint)
	if !ok {
		return &noClientError{d.Engine.Title, client, d.proxyLine()}
	}
	ln, err := localproxy.Listen("127.0.0.1:0", false)
	if err != nil {
		return err
	}
	defer ln.Close()
	at := d.Endpoint.At(ln.Addr())
	go d.finder.Find(ctx) // while the client starts

	// The terminal is the client's from here on: nothing is said but why a
	// connection failed.
	t := d.tunnel(d.patient(env, d.dialer))
	t.Report, t.Log = (&reporter{env: env, what: t.Route}).report, env.Log
	server := &localproxy.Server{Handler: t, Log: env.Log, Admit: newGate(env).Admit}
	cmd := newClientCommand(client, at)
	cmd.args = append(cmd.args, args...)
	env.Log.Debug("run the client", "command", cmd.line())
	return serveCommand(ctx, env, server, ln, cmd, func() {})
}

// clientArgs returns the arguments after the dashes.
func (c *dbConnectCmd) clientArgs() ([]string, error) {
	switch {
	case strings.HasPrefix(c.Name, "-"): // the dashes came first
		return nil, program.Usagef("name the database before --")
	case len(c.Args) == 0:
		return nil, nil
	case c.Args[0] != "--":
		return nil, program.Usagef("unexpected argument %s; arguments for the client come after --", c.Args[0])
	}
	return c.Args[1:], nil
}
