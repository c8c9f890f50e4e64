package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"tshx/internal/localproxy"
	"tshx/internal/program"
	"tshx/internal/sockets"
)

// listenFlags are the flags of every command that listens. docs/scripting.md is
// their contract.
type listenFlags struct {
	Port           *uint16   `short:"p" placeholder:"PORT" help:"Local port, 0 for a free one. Default: always the same one for the same resource."`
	PortRange      portRange `placeholder:"LOW-HIGH" default:"20000-29999" env:"TSHX_PORT_RANGE" help:"Where the default port is taken from; off for a free one each time. Default: ${default}."`
	Listen         string    `placeholder:"HOST[:PORT]|unix:PATH" help:"Local address, or a socket. Default: 127.0.0.1."`
	Anywhere       bool      `name:"insecure-listen-anywhere" help:"Allow --listen on an address that other machines reach. Whoever connects acts as you."`
	AnyLocalUser   bool      `name:"allow-any-local-user" help:"Let other users of this machine connect too. Whoever connects acts as you."`
	Warm           *int      `placeholder:"N" help:"Connections to the proxy kept ready for clients to come, 0 for none. Default: by the kind of resource."`
	PortFile       string    `placeholder:"FILE" help:"File that holds the port, or the path of the socket, while tshx listens."`
	ReadyFD        *int      `name:"ready-fd" placeholder:"N" help:"Descriptor that gets the address in one line once tshx listens."`
	Events         string    `placeholder:"FILE|fd:N" help:"Write what happens there, as lines of JSON."`
	ExitWithParent bool      `name:"exit-with-parent" help:"End when the process that started tshx has ended."`

	// Format is how to announce the address. Command is what to run beside the
	// listener, with the dashes that begin it. Each command has its own way to set
	// both.
	Format  string   `kong:"-"`
	Command []string `kong:"-"`
}

// listenArgs are listenFlags and the command line's remaining arguments, for a
// struct that has its own arguments first.
type listenArgs struct {
	listenFlags
	Format  string   `short:"f" enum:"text,json" default:"text" help:"How to announce the address: text or json."`
	Command []string `arg:"" optional:"" passthrough:"partial" help:"After --: run this command and end with it; {host}, {port}, {addr}, {socket} and {url} in its arguments are replaced."`
}

// serve is listenFlags.serve.
func (a *listenArgs) serve(ctx context.Context, env *Env, s *service) error {
	f := a.listenFlags
	f.Format, f.Command = a.Format, a.Command
	return f.serve(ctx, env, s)
}

// command returns the command to run, without the dashes that begin it.
func (f *listenFlags) command() ([]string, error) {
	switch {
	case len(f.Command) == 0:
		return nil, nil
	case f.Command[0] != "--":
		return nil, program.Usagef("unexpected argument %s; a command to run comes after --", f.Command[0])
	case len(f.Command) == 1:
		return nil, program.Usagef("no command after --")
	case f.Command[1] == "":
		return nil, program.Usagef("the command after -- is empty")
	case f.Format == "json":
		return nil, program.Usagef("standard output is the command's, so --format json has no place; use --events or --port-file")
	}
	return f.Command[1:], nil
}

// listen opens the listener that the flags ask for, on the port that belongs to
// resource, which names what is served, unless they name one.
func (f *listenFlags) listen(env *Env, resource []string) (net.Listener, error) {
	addr, named, err := f.address()
	if err != nil {
		return nil, err
	}
	if !named {
		return f.PortRange.listen(env, addr, f.Anywhere, resource)
	}
	ln, err := localproxy.Listen(addr, f.Anywhere)
	var long *localproxy.PathTooLongError
	if errors.As(err, &long) {
		return nil, program.Usagef("--listen: %v", err)
	}
	return ln, withHolder(err)
}

// address returns what to listen on: a whole address if named is set, otherwise
// a host.
func (f *listenFlags) address() (addr string, named bool, err error) {
	listen := f.Listen
	path, isSocket := localproxy.SocketPath(listen)
	host := "127.0.0.1"
	switch h, port, err := net.SplitHostPort(listen); {
	case isSocket && path == "":
		return "", false, program.Usagef("--listen %s names no path", listen)
	case isSocket && f.Port != nil:
		return "", false, program.Usagef("--listen %s and --port exclude each other: a socket has no port", listen)
	case isSocket:
		return listen, true, nil
	case strings.Contains(listen, "/"):
		return "", false, program.Usagef("--listen %s: a socket is written unix:%s", listen, listen)
	case listen == "":
	case err != nil:
		host = strings.Trim(listen, "[]")
	case f.Port != nil:
		return "", false, program.Usagef("--listen %s and --port %d both name a port; use one", listen, *f.Port)
	default:
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", false, program.Usagef("--listen %s: %q is not a port number", listen, port)
		}
		return net.JoinHostPort(h, port), true, nil
	}
	if f.Port == nil {
		return host, false, nil
	}
	return net.JoinHostPort(host, strconv.Itoa(int(*f.Port))), true, nil
}

// withHolder adds to a *localproxy.PortTakenError who has taken it.
func withHolder(err error) error {
	var taken *localproxy.PortTakenError
	if errors.As(err, &taken) {
		if addr, rerr := net.ResolveTCPAddr("tcp", taken.Addr); rerr == nil {
			if p, ok := sockets.Holder(addr); ok {
				taken.Holder = p.String()
			}
		}
	}
	return err
}

// warnUnchecked says once that the gate lets all local users in, on a system
// where it cannot tell them apart.
func (f *listenFlags) warnUnchecked(env *Env, addr net.Addr) {
	if !f.AnyLocalUser && !sockets.Checks(addr) {
		say(env, fmt.Sprintf("warning: this system does not tell which user connects, so others on this machine can use %v too; --listen unix:PATH keeps them out", addr))
	}
}

// gate returns who may connect, or nil for everybody. denied hears of each one
// who may not.
func (f *listenFlags) gate(env *Env, denied func(net.Conn, error)) func(net.Conn) error {
	if f.AnyLocalUser {
		return nil
	}
	g := newGate(env)
	return func(c net.Conn) error {
		err := g.Admit(c)
		if err != nil {
			denied(c, err)
		}
		return err
	}
}

// newGate lets in who runs tshx.
func newGate(env *Env) *localproxy.Gate {
	return &localproxy.Gate{UID: os.Geteuid(), Log: env.Log, Report: func(err error) { say(env, explain(err)) }}
}
