package main

import (
	"context"
	"fmt"
	"net"

	"tshx/internal/plain"
	"tshx/internal/profile"
	"tshx/internal/program"
	"tshx/internal/tlsroute"
)

type proxyDBCmd struct {
	dbFlags
	pageFlag
	Tunnel bool   `help:"Show the database certificate for the client, which then needs no TLS of its own."`
	Name   string `arg:"" help:"Name of the database in the cluster."`
	listenArgs
}

// Run listens for clients of the database until a signal.
func (c *proxyDBCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	d, err := g.openDatabase(env, c.Name, c.Cluster, c.dbFlags)
	if err != nil {
		return err
	}
	if !c.Tunnel {
		if d.Engine.TunnelOnly {
			return program.Usagef("clients of %s cannot do the TLS of the proxy themselves; add --tunnel", d.Engine.Title)
		}
		if err := d.plain(); err != nil {
			return err
		}
	}
	d.AnyPage = c.AnyPage
	return c.serve(ctx, env, d.service(env))
}

// service is the database as something to listen for.
func (d *database) service(env *Env) *service {
	s := &service{
		login: d.login, Kind: kindDB, Resource: d.Name, What: d.title(),
		Certs: []certificate{{d.title(), d.Name, d.Cert, d.Expires, d.RenewCommand(profile.KindDB, d.Name)}},
	}
	route := d.Engine.Route(d.Name, nil)
	if d.Endpoint.Tunnel {
		route.Certificate = d.Cert
	}
	s.Warm = tlsroute.DefaultWarm(route)
	s.Open = func(o opening) (opened, error) {
		d.Cert = o.Certs[0]
		return o.tunnel(env, d.tunnel(o.Dialer)), nil
	}
	s.Announce = func(a *announcement, addr net.Addr) { d.announce(env, a, addr) }
	return s
}

// announce says how clients get in.
func (d *database) announce(env *Env, a *announcement, addr net.Addr) {
	at := d.Endpoint.At(addr)
	a.setClient(d.Engine, at)
	if trouble := d.Engine.Trouble(at); trouble != "" {
		warn(env, "%s", trouble)
	}
	how := "clients connect without TLS"
	if !at.Tunnel {
		how = "clients do TLS themselves, with these files"
	}
	a.Intro = fmt.Sprintf("%s database %q in cluster %s: %s.\n", d.Engine.Title, d.Name, plain.Line(d.Cluster, 0), how)
	if !at.Tunnel {
		a.Intro += fmt.Sprintf("  ca_file=%s\n  cert_file=%s\n  key_file=%s\n",
			plain.Copyable(at.Files.CA), plain.Copyable(at.Files.Cert), plain.Copyable(at.Files.Key))
	}
}
