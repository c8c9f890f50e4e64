package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"tshx/internal/appproxy"
	"tshx/internal/httproute"
	"tshx/internal/identity"
	"tshx/internal/plain"
	"tshx/internal/profile"
	"tshx/internal/program"
)

type proxyAppCmd struct {
	Cluster        string   `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the application. Default: the profile's."`
	Protocol       string   `enum:"auto,http,tcp" default:"auto" help:"What clients speak: http, tcp, or auto to look at what each says first."`
	AllowHost      []string `name:"allow-host" placeholder:"NAME" help:"Take requests for this host too, which leads here by other means. May be repeated."`
	AllowCrossSite bool     `name:"allow-cross-site" help:"Let pages of other sites use the application by your browser. Dangerous."`
	Local          appPort  `name:"port" short:"p" placeholder:"LOCAL[:TARGET]" help:"Local port, 0 for a free one, and the port of a TCP application with several. Default: always the same local port for the same application."`
	Name           string   `arg:"" help:"Name of the application in the cluster."`
	Port           struct{} `kong:"-"` // Local is in its place
	listenArgs
}

// check refuses flags that would do nothing.
func (c *proxyAppCmd) check() error {
	if c.Protocol == "tcp" && (len(c.AllowHost) > 0 || c.AllowCrossSite) {
		return program.Usagef("--allow-host and --allow-cross-site are about HTTP; with --protocol=tcp nothing is looked at")
	}
	for _, host := range c.AllowHost {
		if !appproxy.IsHost(host) {
			return program.Usagef("--allow-host wants a host, and %q is none", host)
		}
	}
	return nil
}

// Run listens for clients of the application until a signal.
func (c *proxyAppCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	if err := c.check(); err != nil {
		return err
	}
	l, err := g.open(env, c.Cluster)
	if err != nil {
		return err
	}
	what, renew := fmt.Sprintf("application %q", c.Name), l.RenewCommand(profile.KindApp, c.Name)
	cert := func() (*tls.Certificate, error) { return l.AppCert(c.Name) }
	if c.Local.target != 0 {
		cert = forTarget(c.Local.target, what, renew, cert)
	}
	leaf, err := cert()
	if err != nil {
		return err
	}
	id, err := identity.FromCertificate(leaf.Leaf)
	if err != nil {
		return fmt.Errorf("%s certificate: %w", what, err)
	}
	if err := notCloud(id.App, c.Name); err != nil {
		return err
	}
	c.listenFlags.Port = c.Local.local
	s := &service{login: l, Kind: kindApp, Resource: c.Name, What: what}
	s.Certs = []certificate{{what, c.Name, cert, leaf.Leaf.NotAfter, renew}}
	s.Open = func(o opening) (opened, error) {
		p := appproxy.New(appproxy.Options{
			Name: c.Name, Certificate: o.Certs[0], Dialer: o.Dialer, Protocol: appproxy.Protocol(c.Protocol),
			PublicAddr: id.App.PublicAddr, ProxyAddr: l.WebAddr, Hosts: c.AllowHost, CrossSite: c.AllowCrossSite,
			Explain: func(err error) appproxy.Advice { return advise(err, renew) },
			Report:  (&reporter{env: env, what: what}).report,
			Opened:  o.Opened, Closed: o.Closed, Log: env.Log,
		})
		return opened{Handler: p, Drain: p.Drain, Close: func() { p.Close() }}, nil
	}
	s.Announce = func(a *announcement, addr net.Addr) { c.announce(a, l.Cluster, addr) }
	return c.serve(ctx, env, s)
}

// notCloud refuses an application that stands for a cloud's API: its clients are
// to be told about proxies and certificates, and need commands of their own.
func notCloud(app identity.App, name string) error {
	var command string
	switch {
	case app.AWSRoleARN != "":
		command = "aws"
	case app.AzureIdentity != "":
		command = "azure"
	case app.GCPServiceAccount != "":
		command = "gcp"
	default:
		return nil
	}
	return program.Usagef("application %q is the API of a cloud; use: tshx proxy %s --app %s", name, command, quote(name))
}

// advise words an error for a client. renew is the command for a new certificate.
func advise(err error, renew string) appproxy.Advice {
	var cert *profile.CertError
	var target *targetError
	switch {
	case errors.As(err, &cert) && cert.Renew != "":
		return appproxy.Advice{Message: strings.TrimSuffix(err.Error(), "; run: "+cert.Renew), Command: cert.Renew}
	case errors.As(err, &target):
		return appproxy.Advice{Message: err.Error(), Command: target.renew}
	}
	a := appproxy.Advice{Message: plain.Line(err.Error(), 0), Hint: hint(err)}
	if httproute.StatusOf(err) == http.StatusUnauthorized {
		a.Hint, a.Command = "", renew
	}
	return a
}

// announce says how clients get in. Unless they are not looked at, those of HTTP do
// in any case, whatever the application is.
func (c *proxyAppCmd) announce(a *announcement, cluster string, addr net.Addr) {
	_, socket := addr.(*net.UnixAddr)
	url := proxyURL(addr)
	if !socket && c.Protocol != "tcp" {
		a.URL = &url
	}
	kind := "Application"
	switch c.Protocol {
	case "http":
		kind, a.Protocol = "HTTP application", &c.Protocol
	case "tcp":
		kind, a.Protocol = "TCP application", &c.Protocol
	}
	a.Intro = fmt.Sprintf("%s %q in cluster %s: clients connect without TLS.\n", kind, c.Name, plain.Line(cluster, 0))
}
