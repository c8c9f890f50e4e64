package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"tshx/internal/cloudproxy"
	"tshx/internal/plain"
	"tshx/internal/program"
)

// tokenCloud is a cloud whose clients show a token, Azure or Google Cloud, and
// what tshx does for it.
type tokenCloud struct {
	name     string // one of the cloud constants
	clients  string // for people
	programs []string
	host     string // one of the cloud's
	bundle   string // variable that names the clients' own file of CAs
	// open makes the cloud for one app, and then the environment of its clients.
	open func(env *Env, app cloudApp, cert func() (*tls.Certificate, error)) (cloudproxy.Cloud, func(*localCloud) ([]variable, error), error)
}

type proxyAzureCmd struct{ proxyTokenCmd }

// Run listens for Azure clients until a signal.
func (c *proxyAzureCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	return c.run(ctx, env, g, azure)
}

type proxyGCPCmd struct{ proxyTokenCmd }

// Run listens for Google Cloud clients until a signal.
func (c *proxyGCPCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	return c.run(ctx, env, g, gcp)
}

type proxyTokenCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the application. Default: the profile's."`
	App     string `placeholder:"NAME" help:"Application that is an account of the cloud. Default: the only one there is."`
	Exec    string `placeholder:"PROGRAM" help:"Run this, such as a shell, with the environment set, and end with it."`
	listenFlags
	Format  string   `short:"f" enum:",unix,powershell,command-prompt,text,json" default:"" help:"How to announce the environment: by lines of a shell (unix, powershell or command-prompt), as text, or as json. Default: the shell that is usual here."`
	Command []string `arg:"" optional:"" passthrough:"partial" help:"After --: run this command with the environment set and end with it; {addr}, {host}, {port}, {url} and {ca_file} in its arguments are replaced."`
}

func (c *proxyTokenCmd) run(ctx context.Context, env *Env, g *Globals, cloud tokenCloud) error {
	c.Format = cmp.Or(c.Format, shellFormat())
	c.listenFlags.Format, c.listenFlags.Command = c.Format, c.Command
	if c.Exec != "" {
		if len(c.Command) > 0 {
			return program.Usagef("--exec %s runs a program, and there is a command after --; use one", c.Exec)
		}
		c.listenFlags.Command = []string{"--", c.Exec}
	}
	if err := c.noSocket(cloud.clients); err != nil {
		return err
	}
	l, err := g.open(env, c.Cluster)
	if err != nil {
		return err
	}
	app, err := l.tokenApp(cloud, c.App)
	if err != nil {
		return err
	}
	return c.serve(ctx, env, c.service(env, l, cloud, app))
}

// tokenApp returns the app of this name, or the only one of the cloud.
func (l *login) tokenApp(cloud tokenCloud, name string) (cloudApp, error) {
	var names []string
	if name != "" {
		names = []string{name}
	}
	apps, err := l.cloudApps(cloud.name, names)
	if err != nil {
		return cloudApp{}, err
	}
	return apps[0], nil
}

// service is the app as something to listen for.
func (c *proxyTokenCmd) service(env *Env, l *login, cloud tokenCloud, app cloudApp) *service {
	s := &service{login: l, Kind: kindApp, Resource: app.Name, What: cloudTitle(cloud.name, []cloudApp{app}), Certs: []certificate{app.certificate()}}
	var p *localCloud
	s.Open = func(o opening) (opened, error) {
		var err error
		p, err = l.openCloud(env, cloud, app, o.Addr, o.Certs, cloudproxy.Options{
			Dialer: o.Dialer, Opened: o.Opened, Closed: o.Closed, Report: (&reporter{env: env, what: s.What}).report,
		})
		if err != nil {
			return opened{}, err
		}
		return opened{Handler: p, Drain: p.Drain, Stop: p.remove, Close: func() { p.Close() }}, nil
	}
	s.Announce = func(an *announcement, _ net.Addr) { c.announce(an, p, cloud, app) }
	return s
}

// announce says how clients get in.
func (c *proxyTokenCmd) announce(an *announcement, p *localCloud, cloud tokenCloud, app cloudApp) {
	an.Intro = fmt.Sprintf("%s: %s and others get there with this environment, as long as tshx runs.\n  %s\n",
		upper(cloudTitle(cloud.name, []cloudApp{app})), strings.Join(cloud.programs, ", "), plain.Copyable(app.As))
	an.URL, an.CAFile, an.Env = &p.url, &p.ca, set(p.vars)
	an.Command, an.CommandEnv = cloud.programs[:1], variables(an.Env)
	if len(c.listenFlags.Command) > 0 { // which gets it by its environment: no secret is shown
		unsetOthers(p.vars)
		return
	}
	an.Script = script(c.Format, p.vars)
}

// localCloud is a local proxy for one app of a tokenCloud, with the files that its
// clients need.
type localCloud struct {
	*cloudproxy.Proxy
	dir  string // of the files of this run
	keep string // of what clients remember from run to run
	ca   string // file
	url  string // of the proxy
	vars []variable
}

// openCloud starts a proxy for an app behind a listener at addr, and writes the
// files for its clients. certs are those to show; nil is the login's. The rest of
// o is the caller's. The caller closes it.
func (l *login) openCloud(env *Env, cloud tokenCloud, app cloudApp, addr net.Addr, certs []func() (*tls.Certificate, error), o cloudproxy.Options) (*localCloud, error) {
	cert := app.cert
	if certs != nil {
		cert = certs[0]
	}
	p := &localCloud{url: proxyURL(addr)}
	var vars func(*localCloud) ([]variable, error)
	var err error
	if o.Cloud, vars, err = cloud.open(env, app, cert); err != nil {
		return nil, err
	}
	if p.Proxy, err = l.newCloudProxy(env, []cloudApp{app}, certs, o); err != nil {
		return nil, err
	}
	if err = p.prepare(env, l, cloud, app); err == nil {
		p.vars, err = vars(p)
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	p.vars = append(p.vars, variable{"HTTPS_PROXY", p.url}, variable{"https_proxy", p.url})
	warnBypassed(env, cloud.host)
	return p, nil
}

// prepare makes the directories and the file of CAs. The clients' programs trust
// it in place of the system's, and talk to others as well, so it has those too.
func (p *localCloud) prepare(env *Env, l *login, cloud tokenCloud, app cloudApp) (err error) {
	if p.dir, err = privateDir(env, cloud.name); err != nil {
		return err
	}
	if p.keep = filepath.Join(p.dir, "config"); l.Dir != "" {
		p.keep = filepath.Join(absolute(l.Dir), cloud.name, l.Cluster, app.Name)
	}
	if err := writable(p.keep); err != nil && l.Dir != "" { // the programs would say nothing that helps
		warn(env, "what %s remembers goes when tshx ends: %v", cloud.programs[0], err)
		p.keep = filepath.Join(p.dir, "config")
	}
	if err := os.MkdirAll(p.keep, 0o700); err != nil {
		return err
	}
	p.ca = filepath.Join(p.dir, "ca.pem")
	own := []string{env.Getenv(cloud.bundle), env.Getenv("REQUESTS_CA_BUNDLE"), env.Getenv("CURL_CA_BUNDLE"), env.Getenv("SSL_CERT_FILE")}
	return os.WriteFile(p.ca, append(p.CA(), systemCAs(own...)...), 0o600)
}

// writable makes a directory, where there is none, and looks whether files can be
// made in it.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".tshx-")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// systemCAs returns the CAs that programs trust without us: those of the first of
// paths, or of the usual places, that can be read.
func systemCAs(paths ...string) []byte {
	for _, path := range append(paths,
		"/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine, Arch
		"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora
		"/etc/ssl/ca-bundle.pem",             // openSUSE
		"/etc/ssl/cert.pem",                  // macOS, BSD
	) {
		if pem, err := os.ReadFile(path); path != "" && err == nil {
			return append([]byte("\n"), pem...)
		}
	}
	return nil
}

// Close ends the proxy and removes the files of this run.
func (p *localCloud) Close() error {
	p.Proxy.Close()
	return p.remove()
}

func (p *localCloud) remove() error {
	if p.dir == "" {
		return nil
	}
	return os.RemoveAll(p.dir)
}
