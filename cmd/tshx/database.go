package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os/exec"
	"time"

	"tshx/internal/dbproxy"
	"tshx/internal/identity"
	"tshx/internal/localproxy"
	"tshx/internal/plain"
	"tshx/internal/profile"
	"tshx/internal/program"
	"tshx/internal/tlsroute"
)

// dbFlags are the flags by which every command about one database finds it.
type dbFlags struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the database. Default: the profile's."`
	User    string `name:"db-user" short:"u" placeholder:"NAME" help:"Database user. Default: the certificate's."`
	DBName  string `name:"db-name" short:"n" placeholder:"NAME" help:"Database inside the server. Default: the certificate's."`
}

// pageFlag is that of the commands which open a tunnel for clients.
type pageFlag struct {
	AnyPage bool `name:"allow-web-pages" help:"Let web pages use an HTTP database. Default: only programs."`
}

// database is one that the login has a certificate for, with what it takes to
// get there.
type database struct {
	*login
	Name   string // in the cluster
	Engine *dbproxy.Engine
	// Endpoint is that of a tunnel, still without an address; plain makes it
	// one for clients that do TLS themselves.
	Endpoint dbproxy.Endpoint
	Cert     func() (*tls.Certificate, error) // reads it anew each time
	Expires  time.Time                        // when the certificate does
	AnyPage  bool                             // web pages may use the tunnel
}

// openDatabase finds the database of this name, or the only one there is if
// name is empty. A certificate that is missing or not valid is an error.
func (g *Globals) openDatabase(env *Env, name, cluster string, f dbFlags) (*database, error) {
	l, err := g.open(env, cluster)
	if err != nil {
		return nil, err
	}
	if name == "" {
		if name, err = l.onlyDatabase(); err != nil {
			return nil, err
		}
	}
	d := &database{login: l, Name: name, Cert: func() (*tls.Certificate, error) { return l.DBCert(name) }}
	leaf, err := d.Cert()
	if err != nil {
		return nil, err
	}
	d.Expires = leaf.Leaf.NotAfter
	id, err := identity.FromCertificate(leaf.Leaf)
	if err != nil {
		return nil, fmt.Errorf("%s certificate: %w", d.title(), err)
	}
	if d.Engine, err = dbproxy.Lookup(id.Database.Protocol); err != nil {
		return nil, err
	}
	d.Endpoint = d.Engine.Complete(dbproxy.Endpoint{User: f.User, Name: f.DBName, Tunnel: true, Has: installed, Says: saidBy}, id)
	return d, nil
}

// onlyDatabase is the one to take when none was named.
func (l *login) onlyDatabase() (string, error) {
	names, err := l.Databases()
	switch {
	case len(names) == 1:
		return names[0], nil
	case len(names) > 1:
		return "", program.Usagef("name a database; there are %s", plain.Some(names, ", "))
	case err != nil:
		return "", err
	}
	where := l.IdentityFile
	if where == "" {
		where = l.Paths().ClusterDir(profile.KindDB, l.Cluster)
	}
	return "", &profile.CertError{What: "database certificate", Path: where, Problem: profile.Missing, Renew: "tsh db login NAME"}
}

// plain turns the endpoint into one for clients that do TLS themselves.
func (d *database) plain() error {
	f, err := d.DBFiles(d.Name)
	if err != nil {
		return err
	}
	if _, err := d.HostCAs(); err != nil { // the client is told to trust them
		return err
	}
	d.Endpoint.Tunnel = false
	d.Endpoint.Files = dbproxy.Files{CA: f.CA, Cert: f.Cert, Key: f.Key}
	return nil
}

// title names the database in words to people.
func (d *database) title() string { return fmt.Sprintf("database %q", d.Name) }

// tunnel is the handler of a listener for the database. dialer is the login's,
// or a pool that keeps connections ready.
func (d *database) tunnel(dialer tlsroute.RouteDialer) *localproxy.Tunnel {
	up := &dbproxy.Upstream{Engine: d.Engine, Database: d.Name, Dialer: dialer, Cert: d.Cert, Tunnel: d.Endpoint.Tunnel, AnyPage: d.AnyPage}
	return &localproxy.Tunnel{
		Dial: up.Dial, Check: up.Check, Route: d.title(),
		Failed: func(client net.Conn, err error) {
			up.Refuse(client, dbproxy.Refusal{Text: explain(err), Login: exitCode(err) == exitLogin})
		},
	}
}

// proxyLine is the command that works without a client of ours.
func (d *database) proxyLine() string {
	return "tshx proxy db " + quote(d.Name) + " --tunnel"
}

// installed reports whether a program is there to be run.
func installed(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// versionTimeout bounds the wait for a program that says its version.
const versionTimeout = 2 * time.Second

// saidBy runs a program that says something about itself.
func saidBy(name string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), versionTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = versionTimeout
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return string(out)
}
