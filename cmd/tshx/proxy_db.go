package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"

	"tshx/internal/dbproxy"
	"tshx/internal/identity"
	"tshx/internal/localproxy"
)

type proxyDBCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the database. Default: the profile's."`
	Tunnel  bool   `help:"Show the database certificate for the client, which then needs no TLS of its own."`
	DBUser  string `name:"db-user" placeholder:"NAME" help:"Database user in the printed command. Default: the certificate's."`
	DBName  string `name:"db-name" placeholder:"NAME" help:"Database in the printed command. Default: the certificate's."`
	listenFlags
	Name string `arg:"" help:"Name of the database in the cluster."`
}

// Run listens for clients of the database until a signal.
func (c *proxyDBCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	l, err := g.open(env, c.Cluster)
	if err != nil {
		return err
	}
	cert := func() (*tls.Certificate, error) { return l.DBCert(c.Name) }
	leaf, err := cert()
	if err != nil {
		return err
	}
	id, err := identity.FromCertificate(leaf.Leaf)
	if err != nil {
		return fmt.Errorf("database %q certificate: %w", c.Name, err)
	}
	engine, err := dbproxy.Lookup(id.Database.Protocol)
	if err != nil {
		return err
	}
	endpoint := dbproxy.Endpoint{User: c.DBUser, Name: c.DBName, Tunnel: c.Tunnel, Has: hasProgram}
	if !c.Tunnel {
		if endpoint.Files, err = l.dbFiles(c.Name); err != nil {
			return err
		}
		if _, err := l.HostCAs(); err != nil { // the client is told to trust them
			return err
		}
	}
	endpoint = engine.Complete(endpoint, id)
	ln, err := c.listen()
	if err != nil {
		return err
	}
	endpoint = endpoint.At(ln.Addr())
	if err := c.announce(env.Stdout, l, engine, endpoint, ln.Addr()); err != nil {
		ln.Close()
		return fmt.Errorf("write standard output: %w", err)
	}
	go l.finder.Find(ctx) // so that the first client need not wait for it
	up := &dbproxy.Upstream{Engine: engine, Database: c.Name, Dialer: l.dialer, Cert: cert, Tunnel: c.Tunnel}
	return c.serve(ctx, env, ln, &localproxy.Tunnel{Dial: up.Dial, Check: up.Check, Route: fmt.Sprintf("database %q", c.Name)})
}

// announce says where the proxy listens and how to use it. Scripts may rely on
// the lines "address: ", "connect: " and "url: ".
func (c *proxyDBCmd) announce(w io.Writer, l *login, e *dbproxy.Engine, at dbproxy.Endpoint, addr net.Addr) error {
	how := "clients do TLS themselves, with these files"
	if c.Tunnel {
		how = "clients connect without TLS"
	}
	text := fmt.Sprintf("%s database %q in cluster %s: %s.\n", e.Title, c.Name, l.Cluster, how)
	if !c.Tunnel {
		text += fmt.Sprintf("  ca_file=%s\n  cert_file=%s\n  key_file=%s\n", at.Files.CA, at.Files.Cert, at.Files.Key)
	}
	text += fmt.Sprintf("address: %s\nconnect: %s\nurl: %s\n", addr, dbproxy.Quote(e.Command(at)), e.URL(at))
	_, err := io.WriteString(w, text)
	return err
}

func (l *login) dbFiles(name string) (dbproxy.Files, error) {
	f, err := l.DBFiles(name)
	return dbproxy.Files{CA: f.CA, Cert: f.Cert, Key: f.Key}, err
}

// hasProgram reports whether a client program is installed.
func hasProgram(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}
