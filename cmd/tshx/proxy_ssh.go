package main

import (
	"context"
	"errors"
	"net"

	"tshx/internal/conn"
	"tshx/internal/program"
	"tshx/internal/sshproxy"
	"tshx/internal/tlsroute"
)

type proxySSHCmd struct {
	Cluster string `short:"c" placeholder:"NAME" env:"TELEPORT_CLUSTER,TELEPORT_SITE" help:"Cluster of the node. Default: the profile's."`
	Login   string `short:"l" placeholder:"USER" env:"TELEPORT_LOGIN" help:"Login on the node, where the target names none."`
	Default string `name:"default-port" hidden:"" placeholder:"PORT" help:"Port of the target that is as good as none."`
	Target  string `arg:"" name:"[user@]host[:port]" help:"The node, as OpenSSH's %r@%h:%p gives it."`
}

// Run joins standard input and output to the node.
func (c *proxySSHCmd) Run(ctx context.Context, env *Env, g *Globals) error {
	user, node, err := sshproxy.ParseTarget(c.Target)
	if err != nil {
		return program.Usagef("%v", err)
	}
	if user == "" {
		user = c.Login
	}
	if node.Port == c.Default {
		node.Port = ""
	}
	l, err := g.open(env, c.Cluster)
	if err != nil {
		return err
	}
	node.Cluster = l.Cluster
	node = node.Tidy(l.Name)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchHangup(ctx, env.Stdout, func() { cancel(conn.ErrReaderGone) })
	err = l.pipeSSH(ctx, env, user, node)
	if program.Signalled(ctx) || errors.Is(err, conn.ErrReaderGone) || errors.Is(context.Cause(ctx), conn.ErrReaderGone) {
		return nil // OpenSSH ends its ProxyCommand in these ways
	}
	return err
}

func (l *login) pipeSSH(ctx context.Context, env *Env, user string, node sshproxy.Node) error {
	cert, signer, err := l.SSHSigner()
	if err != nil {
		return err
	}
	if user, err = sshproxy.Login(cert, user, env.osUser()); err != nil {
		return err
	}
	hosts, err := l.sshAuthorities()
	if err != nil {
		return err
	}
	c, addr, err := l.dialSSH(ctx, env)
	if err != nil {
		return err
	}
	s, err := sshproxy.Open(ctx, c, sshproxy.Options{Addr: addr, User: user, Signer: signer, Hosts: hosts, Node: node})
	if err != nil {
		return err
	}
	st, err := conn.Stdio(ctx, env.Stdin, env.Stdout, s)
	env.Log.Debug("connection ended", "route", "ssh "+node.String(), "sent", st.Sent, "received", st.Received, "dur", st.Duration, "err", err)
	if refused := s.Refused(node); refused != nil && st.Received == 0 {
		return refused
	}
	return err
}

// sshAuthorities returns the CAs that may vouch for the proxy's SSH host key.
// The lines of an identity file may name its cluster and no proxy.
func (l *login) sshAuthorities() (*sshproxy.Authorities, error) {
	lines, err := l.HostKeyLines()
	if err != nil {
		return nil, err
	}
	if l.IdentityFile == "" {
		return sshproxy.ParseAuthorities(lines, l.Name)
	}
	root, err := l.RootCluster()
	if err != nil {
		return nil, err
	}
	return sshproxy.ParseAuthorities(lines, l.Name, root)
}

// dialSSH reaches the proxy's SSH service: on the one TLS port, or, for a proxy
// without TLS routing, on the port of its own.
func (l *login) dialSSH(ctx context.Context, env *Env) (net.Conn, string, error) {
	if !l.TLSRouting && l.SSHAddr != "" {
		c, err := l.egress.DialContext(ctx, "tcp", l.SSHAddr)
		return c, l.SSHAddr, err
	}
	c, err := l.patient(env, l.dialer).Dial(ctx, tlsroute.Route{Name: "ssh", ALPN: []string{tlsroute.ALPNSSH}, HostCert: true})
	return c, l.WebAddr, err
}
