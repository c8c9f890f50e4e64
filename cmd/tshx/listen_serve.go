package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"tshx/internal/event"
	"tshx/internal/localproxy"
	"tshx/internal/program"
	"tshx/internal/tlsroute"
)

// service is what a command serves on its listener.
type service struct {
	login    *login
	Kind     string // kindDB or kindApp
	Resource string // its name in the cluster
	What     string // the same for people: `database "orders"`
	// Route is one that the tunnel will dial.
	Route tlsroute.Route
	// Cert reads the certificate, whose end was Expires when it was read last.
	// Renew is the command that makes a new one; may be empty.
	Cert    func() (*tls.Certificate, error)
	Expires time.Time
	Renew   string
	// Tunnel makes the handler. It dials by dialer and shows cert, not Cert.
	Tunnel func(cert func() (*tls.Certificate, error), dialer tlsroute.RouteDialer) *localproxy.Tunnel
	// Announce adds to what is announced what only this kind knows. Nil adds
	// nothing.
	Announce func(a *announcement, addr net.Addr)
}

// maxWarm bounds --warm.
const maxWarm = 64

// errCommandEnded is the cause of the end when a command has run beside it.
var errCommandEnded = errors.New("the command has ended")

// commandDrain is how long connections may go on when the command has ended
// that they were for.
const commandDrain = 2 * time.Second

// serve listens, tells those who wait for it, and serves until a signal, the
// end of the command or that of the parent; then it drains.
func (f *listenFlags) serve(ctx context.Context, env *Env, s *service) error {
	command, err := f.command()
	if err != nil {
		return err
	}
	if f.Warm != nil && (*f.Warm < 0 || *f.Warm > maxWarm) {
		return program.Usagef("--warm %d: want 0 to %d", *f.Warm, maxWarm)
	}
	out, err := f.outlets(ctx, env)
	if err != nil {
		return err
	}
	defer out.close()
	ln, err := f.listen(env, s.login.resource(s.Kind, s.Resource))
	if err != nil {
		return err
	}
	defer ln.Close()
	f.warnUnchecked(env, ln.Addr())
	a := newAnnouncement(s, ln.Addr())
	a.Transport = transportWord(s.login.finder, env.Getenv)
	if s.Announce != nil {
		s.Announce(&a, ln.Addr())
	}
	if command, err = a.replace(command); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if f.ExitWithParent {
		if err := watchParent(ctx, func() { cancel(errParentGone) }); err != nil {
			return fmt.Errorf("--exit-with-parent: %w", err)
		}
	}
	switch {
	case len(command) == 0:
		err = a.print(env.Stdout, f.Format)
	case env.Log.Enabled(ctx, slog.LevelDebug):
		err = a.print(env.Stderr, f.Format)
	}
	if err != nil {
		return err
	}
	if err := out.listening(&a, s.What); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, out.stopping)()

	pool := &tlsroute.Pool{Dialer: s.login.dialer, Size: tlsroute.DefaultWarm(s.Route), Log: env.Log}
	if f.Warm != nil {
		pool.Size = *f.Warm
	}
	defer pool.Close()
	server, done := f.server(ctx, env, s, out, pool)
	defer done()
	if len(command) == 0 {
		return server.Serve(ctx, ln)
	}
	return serveCommand(ctx, env, server, ln, clientCommand{command, a.environment()}, out.stopping)
}

// server joins the parts. done is called when it has ended.
func (f *listenFlags) server(ctx context.Context, env *Env, s *service, out *outlets, pool *tlsroute.Pool) (server *localproxy.Server, done func()) {
	watch := &certWatch{Read: s.Cert, Events: out.events, Warn: func(expires time.Time) { warnExpiring(env, s, expires) }}
	watch.Start(s.Expires)
	verdicts := &verdicts{finder: s.login.finder, events: out.events}
	go verdicts.find(ctx) // also so that the first client need not wait for it

	t := s.Tunnel(watch.Certificate, s.login.patient(env, pool))
	t.Report, t.Log = (&reporter{env: env, what: t.Route}).report, env.Log
	t.Opened = func(c localproxy.Connection) {
		out.opened(c)
		watch.Connected()
	}
	t.Closed = func(c localproxy.Connection, end localproxy.End) {
		out.closed(c, end)
		verdicts.look()
	}
	drained := false
	server = &localproxy.Server{Handler: t, Log: env.Log, Admit: f.gate(env, out.denied)}
	server.Draining = func(open int) {
		drained = true
		out.events.Emit(event.Draining{Open: open})
		if len(f.Command) == 0 { // a command that has ended wants no words
			say(env, fmt.Sprintf("draining %s for up to %v; interrupt again to cut now", connections(open), localproxy.DrainTimeout))
		}
	}
	server.Cut = func(open int) { say(env, "cut "+connections(open)) }
	return server, func() {
		watch.Stop()
		if !drained {
			out.events.Emit(event.Draining{})
		}
	}
}

// The kinds of resources, as scripts know them.
const (
	kindDB  = "db"
	kindApp = "app"
)
