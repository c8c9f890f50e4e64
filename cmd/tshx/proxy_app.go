package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"tshx/internal/localproxy"
	"tshx/internal/plain"
	"tshx/internal/profile"
	"tshx/internal/tlsroute"
)

type proxyAppCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the application. Default: the profile's."`
	Name    string `arg:"" help:"Name of the TCP application in the cluster."`
	listenArgs
}

// Run listens for clients of the TCP application until a signal.
func (c *proxyAppCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	l, err := g.open(env, c.Cluster)
	if err != nil {
		return err
	}
	cert := func() (*tls.Certificate, error) { return l.AppCert(c.Name) }
	leaf, err := cert()
	if err != nil {
		return err
	}
	s := &service{login: l, Kind: kindApp, Resource: c.Name, What: fmt.Sprintf("application %q", c.Name)}
	s.Certs = []certificate{{s.What, c.Name, cert, leaf.Leaf.NotAfter, l.RenewCommand(profile.KindApp, c.Name)}}
	route := tlsroute.Route{
		Name:        s.What,
		ALPN:        []string{tlsroute.WithPing(tlsroute.ALPNTCP), tlsroute.ALPNTCP},
		Certificate: cert,
	}
	s.Warm = tlsroute.DefaultWarm(route)
	s.Open = func(o opening) (opened, error) {
		route.Certificate = o.Certs[0]
		dial := func(ctx context.Context, client net.Conn) (net.Conn, net.Conn, error) {
			up, err := o.Dialer.Dial(ctx, route)
			return client, up, err
		}
		return o.tunnel(env, &localproxy.Tunnel{Dial: dial, Check: checkTCPApp, Route: route.Name}), nil
	}
	s.Announce = func(a *announcement, _ net.Addr) {
		a.Intro = fmt.Sprintf("TCP application %q in cluster %s.\n", c.Name, plain.Line(l.Cluster, 0))
	}
	return c.serve(ctx, env, s)
}

// errNoTCPApp is what a route to an application of another kind looks like.
var errNoTCPApp = errors.New("the proxy closed the connection without an answer")

// checkTCPApp returns errNoTCPApp where an application would have answered.
func checkTCPApp(head []byte) error {
	if len(head) > 0 {
		return errNoTCPApp
	}
	return nil
}
