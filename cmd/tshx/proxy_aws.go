package main

import (
	"context"
	"fmt"
	"net"
	"strings"

	"tshx/internal/cloudproxy"
	"tshx/internal/plain"
	"tshx/internal/program"
)

// The formats of proxy aws for programs that have no environment.
const (
	formatAthenaODBC = "athena-odbc"
	formatAthenaJDBC = "athena-jdbc"
)

type proxyAWSCmd struct {
	Cluster  string   `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the applications. Default: the profile's."`
	App      []string `placeholder:"NAME" help:"AWS application. May be repeated: then each is a profile of an AWS configuration. Default: the only one there is."`
	Endpoint bool     `name:"endpoint-url" short:"e" help:"Listen as an AWS endpoint, for programs that know no forward proxy: aws --endpoint-url URL."`
	Exec     string   `placeholder:"PROGRAM" help:"Run this, such as a shell, with the environment set, and end with it."`
	listenFlags
	Format  string   `short:"f" enum:"auto,unix,powershell,command-prompt,text,json,athena-odbc,athena-jdbc" default:"auto" help:"How to announce the environment: by lines of a shell (unix, powershell or command-prompt), as text, as json, or as settings of the drivers for Athena (athena-odbc, athena-jdbc); auto is the shell that is usual here."`
	Command []string `arg:"" optional:"" passthrough:"partial" help:"After --: run this command with the environment set and end with it; {addr}, {host}, {port}, {url} and {ca_file} in its arguments are replaced."`
}

// Run listens for AWS clients until a signal.
func (c *proxyAWSCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	if err := c.complete(); err != nil {
		return err
	}
	l, err := g.open(env, c.Cluster)
	if err != nil {
		return err
	}
	apps, err := l.cloudApps(cloudAWS, c.App)
	if err != nil {
		return err
	}
	if len(apps) > 1 && c.drivers() {
		return program.Usagef("--format %s is for one app", c.Format)
	}
	return c.serve(ctx, env, c.service(env, l, apps))
}

// complete completes the flags of the listener.
func (c *proxyAWSCmd) complete() error {
	if c.Format == "auto" {
		c.Format = shellFormat()
	}
	c.listenFlags.Format, c.listenFlags.Command = c.Format, c.Command
	if c.Exec != "" {
		if len(c.Command) > 0 {
			return program.Usagef("--exec %s runs a program, and there is a command after --; use one", c.Exec)
		}
		c.listenFlags.Command = []string{"--", c.Exec}
	}
	switch {
	case !c.drivers():
	case c.Endpoint:
		return program.Usagef("--format %s is for a forward proxy, without --endpoint-url", c.Format)
	case len(c.listenFlags.Command) > 0:
		return program.Usagef("standard output is the command's, so --format %s has no place", c.Format)
	}
	return c.noSocket("AWS clients")
}

// drivers reports whether the format is settings of drivers, which have no
// environment.
func (c *proxyAWSCmd) drivers() bool {
	return c.Format == formatAthenaJDBC || c.Format == formatAthenaODBC
}

// service is the apps as something to listen for.
func (c *proxyAWSCmd) service(env *Env, l *login, apps []cloudApp) *service {
	names := cloudAppNames(apps)
	s := &service{login: l, Kind: kindApp, Resource: strings.Join(names, ","), What: cloudTitle(cloudAWS, apps)}
	for _, app := range apps {
		s.Certs = append(s.Certs, app.certificate())
	}
	var a *localAWS
	s.Open = func(o opening) (opened, error) {
		var err error
		a, err = l.openAWS(env, apps, o.Addr, o.Certs, cloudproxy.Options{
			Dialer: o.Dialer, Endpoint: c.Endpoint, Opened: o.Opened, Closed: o.Closed,
			Report: (&reporter{env: env, what: s.What}).report,
		})
		if err != nil {
			return opened{}, err
		}
		return opened{Handler: a, Drain: a.Drain, Stop: a.remove, Close: func() { a.Close() }}, nil
	}
	s.Announce = func(an *announcement, addr net.Addr) { c.announce(an, a, apps, addr) }
	return s
}

// announce says how clients get in.
func (c *proxyAWSCmd) announce(an *announcement, a *localAWS, apps []cloudApp, addr net.Addr) {
	var intro strings.Builder
	clients := "aws and others get there with this environment"
	if c.drivers() {
		clients = "drivers for Athena get there with these settings"
	}
	fmt.Fprintf(&intro, "%s: %s, as long as tshx runs.\n", upper(cloudTitle(cloudAWS, apps)), clients)
	for _, app := range apps {
		line := plain.Copyable(app.As)
		if len(apps) > 1 {
			line = plain.Copyable(app.Name) + ": " + line
		}
		fmt.Fprintf(&intro, "  %s\n", line)
	}
	if len(apps) > 1 {
		intro.WriteString("Each is a profile: aws --profile NAME.\n")
	}
	an.URL, an.CAFile, an.Env = &a.url, &a.ca, set(a.vars)
	an.Command, an.CommandEnv = []string{"aws"}, variables(an.Env)
	if c.Endpoint {
		an.Command = []string{"aws", "--endpoint-url", a.url}
		fmt.Fprintf(&intro, "Clients that do not know AWS_ENDPOINT_URL: aws --endpoint-url %s\n", a.url)
	}
	an.Intro = intro.String()
	switch {
	case len(c.listenFlags.Command) > 0: // which gets it by its environment: no secret is shown
		unsetOthers(a.vars)
	case c.drivers():
		an.Script = a.athena(c.Format, addr)
	default:
		an.Script = script(c.Format, a.vars)
	}
}

// cloudAppNames are the names of apps.
func cloudAppNames(apps []cloudApp) []string {
	names := make([]string, len(apps))
	for i, app := range apps {
		names[i] = app.Name
	}
	return names
}

// cloudTitle names apps of a cloud in words to people.
func cloudTitle(cloud string, apps []cloudApp) string {
	names := cloudAppNames(apps)
	for i := range names {
		names[i] = fmt.Sprintf("%q", names[i])
	}
	if len(names) == 1 {
		return cloudNames[cloud] + " app " + names[0]
	}
	return cloudNames[cloud] + " apps " + plain.Some(names, ", ")
}
