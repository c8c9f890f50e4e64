package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"tshx/internal/dbproxy"
	"tshx/internal/plain"
	"tshx/internal/profile"
)

type dbLoginCmd struct {
	dbFlags
	optionalDB
	PortRange portRange `hidden:"" default:"20000-29999" env:"TSHX_PORT_RANGE" help:"As of proxy db."`
}

// Run writes what programs of the engine read about the database. The
// certificate must be there: only tsh gets one.
func (c *dbLoginCmd) Run(env *Env, g *Globals) error {
	d, err := g.openDatabase(env, c.Name, c.Cluster, c.dbFlags)
	if err != nil {
		return err
	}
	if d.Engine.ClientFile == nil {
		return printText(env.Stdout, fmt.Sprintf("There is a certificate for %s, and nothing to write: programs of %s read no file.\nconnect: tshx db connect %s\n",
			d.title(), d.Engine.Title, plain.Copyable(quote(d.Name))))
	}
	at, needs, err := c.endpoint(d, g)
	if err != nil {
		return err
	}
	f := d.Engine.ClientFile(at, d.Cluster, d.Name)
	path, err := clientPath(f, env.home(), env.Getenv)
	if err != nil {
		return err
	}
	if err := f.Write(path); err != nil {
		return fmt.Errorf("write %s: %w", path, bare(err))
	}
	return printText(env.Stdout, fmt.Sprintf("file: %s\nsection: %s\nconnect: %s\n%s",
		plain.Copyable(path), plain.Copyable(f.Section), plain.Copyable(dbproxy.Quote(f.Use)), needs))
}

// clientPath is where the file is, or *noHomeError: that of no user is not in
// the current directory.
func clientPath(f dbproxy.ClientFile, home string, getenv func(string) string) (string, error) {
	path := f.Path(home, getenv)
	if home == "" && path == f.Name {
		return "", &noHomeError{fmt.Errorf("no place for %s", f.Name), f.Variable}
	}
	return path, nil
}

// endpoint is the proxy itself, or the port that belongs to the database where
// clients need a local proxy; needs is then the line that says so.
func (c *dbLoginCmd) endpoint(d *database, g *Globals) (at dbproxy.Endpoint, needs string, err error) {
	at, err = d.direct(g)
	var not *notDirectError
	if !errors.As(err, &not) || c.PortRange == (portRange{}) {
		return at, "", err
	}
	at = d.Endpoint
	at.Tunnel, at.Files = true, dbproxy.Files{}
	port := c.PortRange.port(d.resource(kindDB, d.Name), 0)
	at = at.At(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)})
	return at, "while: " + plain.Copyable(d.proxyLine()) + " --port " + strconv.Itoa(int(port)) + "\n", nil
}

type dbLogoutCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the database. Default: the profile's."`
	optionalDB
}

// Run removes what there is of a database: its sections in clients' files and
// its certificate, valid or not. A part that is not there, or cannot be removed,
// keeps no other one.
func (c *dbLogoutCmd) Run(env *Env, g *Globals) error {
	l, err := g.open(env, c.Cluster)
	if err != nil {
		return err
	}
	name := c.Name
	if name == "" {
		if name, err = l.onlyDatabase(); err != nil {
			return err
		}
	}
	removed, err := l.RemoveDB(name)
	if errors.Is(err, profile.ErrBadName) {
		return err
	}
	sections, serr := removeSections(env, l.Cluster, name)
	var done strings.Builder
	for _, what := range append(removed, sections...) {
		fmt.Fprintf(&done, "removed: %s\n", plain.Copyable(what))
	}
	var missing *profile.CertError
	if errors.As(err, &missing) && missing.Problem == profile.Missing {
		err = nil
		if done.Len() == 0 && serr == nil {
			sought := *missing
			sought.Renew = ""
			say(env, "nothing to remove: "+sought.Error())
		}
	}
	return errors.Join(err, serr, printText(env.Stdout, done.String()))
}

// removeSections looks in the files of all engines, since a certificate that
// cannot be read does not say which one it was for. It says what it has removed.
func removeSections(env *Env, cluster, name string) (removed []string, err error) {
	seen := map[string]bool{}
	for _, protocol := range dbproxy.Protocols() {
		e, lerr := dbproxy.Lookup(protocol)
		if lerr != nil || e.ClientFile == nil {
			continue
		}
		f := e.ClientFile(dbproxy.Endpoint{}, cluster, name)
		path, perr := clientPath(f, env.home(), env.Getenv)
		if seen[path] {
			continue
		}
		seen[path] = true
		if perr != nil {
			err = errors.Join(err, perr)
			continue
		}
		there, rerr := dbproxy.RemoveSection(path, f.Section)
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("edit %s: %w", path, rerr))
		}
		if there {
			removed = append(removed, fmt.Sprintf("section %s of %s", f.Section, path))
		}
	}
	return removed, err
}
