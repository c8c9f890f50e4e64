package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"tshx/internal/conn"
	"tshx/internal/localproxy"
	"tshx/internal/tlsroute"
)

type proxyAppCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the application. Default: the profile's."`
	listenFlags
	Name string `arg:"" help:"Name of the TCP application in the cluster."`
}

// Run listens for clients of the TCP application until a signal.
func (c *proxyAppCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	l, err := g.open(env, c.Cluster)
	if err != nil {
		return err
	}
	cert := func() (*tls.Certificate, error) { return l.AppCert(c.Name) }
	if _, err := cert(); err != nil {
		return err
	}
	ln, err := c.listen()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(env.Stdout, "TCP application %q in cluster %s.\naddress: %s\n", c.Name, l.Cluster, ln.Addr()); err != nil {
		ln.Close()
		return fmt.Errorf("write standard output: %w", err)
	}
	go l.finder.Find(ctx) // so that the first client need not wait for it
	route := tlsroute.Route{
		Name:        fmt.Sprintf("application %q", c.Name),
		ALPN:        []string{tlsroute.WithPing(tlsroute.ALPNTCP), tlsroute.ALPNTCP},
		Certificate: cert,
	}
	dial := func(ctx context.Context, client net.Conn) (net.Conn, net.Conn, error) {
		up, err := l.dialer.Dial(ctx, route)
		return client, up, err
	}
	return c.serve(ctx, env, ln, &localproxy.Tunnel{Dial: dial, Check: checkTCPApp, Route: route.Name})
}

// errNoTCPApp is what a route to an application of another kind looks like.
var errNoTCPApp = errors.New("the proxy closed the connection without an answer")

// checkTCPApp returns errNoTCPApp for a connection that the proxy ended before
// the client did, without a byte.
func checkTCPApp(st conn.Stats) error {
	if st.RemoteFirst && st.Received == 0 && st.Sent > 0 {
		return errNoTCPApp
	}
	return nil
}
