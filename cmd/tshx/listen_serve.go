package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"tshx/internal/event"
	"tshx/internal/localproxy"
	"tshx/internal/program"
	"tshx/internal/tlsroute"
)

// service is what a command serves on its listener.
type service struct {
	login    *login
	Kind     string // one of the kinds below
	Resource string // its name in the cluster
	What     string // the same for people: `database "orders"`
	// Certs are the certificates that it shows to the proxy, at least one.
	Certs []certificate
	Warm  int // connections kept ready where the user asks for no number
	// Open makes what serves the listener. The caller calls Stop and Close.
	Open func(o opening) (opened, error)
	// Announce adds to what is announced what only this kind knows, once it was
	// opened. Nil adds nothing.
	Announce func(a *announcement, addr net.Addr)
}

// certificate is one that a service shows.
type certificate struct {
	What     string // for people: `database "orders"`
	Resource string // the resource that it is for
	// Read reads it, anew each time. Its end was Expires when it was read last.
	Read    func() (*tls.Certificate, error)
	Expires time.Time
	Renew   string // the command that makes a new one; may be empty
}

// opening is what a service is opened with.
type opening struct {
	Addr   net.Addr // of the listener
	Dialer tlsroute.RouteDialer
	// Certs are those of the service, watched: they are the ones to show.
	Certs  []func() (*tls.Certificate, error)
	Opened func(localproxy.Connection)
	Closed func(localproxy.Connection, localproxy.End)
}

// opened is what serves a listener.
type opened struct {
	localproxy.Handler
	Drain func()       // closes what carries nothing; nil has nothing to do
	Stop  func() error // removes what leads clients here; called once; nil
	Close func()       // at the end; nil
}

// tunnel serves the listener by t, which lacks its hooks.
func (o opening) tunnel(env *Env, t *localproxy.Tunnel) opened {
	t.Report, t.Log = (&reporter{env: env, what: t.Route}).report, env.Log
	t.Opened, t.Closed = o.Opened, o.Closed
	return opened{Handler: t}
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

	r := f.prepare(env, s, out)
	defer r.close()
	if err := r.open(ln.Addr()); err != nil {
		return err
	}
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
	defer context.AfterFunc(ctx, r.withdraw)() // also while nobody reads what follows
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
	defer context.AfterFunc(ctx, r.stopping)()
	server := r.server(ctx)
	if len(command) == 0 {
		return server.Serve(ctx, ln)
	}
	return serveCommand(ctx, env, server, ln, clientCommand{command, a.environment()}, r.stopping)
}

// serving is a service that runs.
type serving struct {
	flags *listenFlags
	env   *Env
	*service
	out      *outlets
	pool     *tlsroute.Pool
	verdicts *verdicts
	watches  []*certWatch
	opened   opened
	leave    sync.Once
	stop     sync.Once
	drained  bool
}

// prepare makes what a service runs on. The caller closes it.
func (f *listenFlags) prepare(env *Env, s *service, out *outlets) *serving {
	r := &serving{flags: f, env: env, service: s, out: out}
	r.pool = &tlsroute.Pool{Dialer: s.login.dialer, Size: s.Warm, Log: env.Log}
	if f.Warm != nil {
		r.pool.Size = *f.Warm
	}
	r.verdicts = &verdicts{finder: s.login.finder, events: out.events}
	for _, c := range s.Certs {
		r.watches = append(r.watches, &certWatch{
			Resource: c.Resource, Read: c.Read, Events: out.events,
			Warn: func(expires time.Time) { warnExpiring(env, c, expires) },
		})
	}
	return r
}

// open opens the service.
func (r *serving) open(addr net.Addr) (err error) {
	o := opening{
		Addr: addr, Dialer: r.login.patient(r.env, r.pool),
		Opened: func(c localproxy.Connection) {
			r.out.opened(c)
			for _, w := range r.watches {
				w.Connected()
			}
		},
		Closed: func(c localproxy.Connection, end localproxy.End) {
			r.out.closed(c, end)
			r.verdicts.look()
		},
	}
	for _, w := range r.watches {
		o.Certs = append(o.Certs, w.Certificate)
	}
	r.opened, err = r.Open(o)
	return err
}

// server begins to watch, and returns what serves the listener.
func (r *serving) server(ctx context.Context) *localproxy.Server {
	for i, w := range r.watches {
		w.Start(r.Certs[i].Expires)
	}
	go r.verdicts.find(ctx) // also so that the first client need not wait for it

	server := &localproxy.Server{Handler: r.opened.Handler, Log: r.env.Log, Admit: r.flags.gate(r.env, r.out.denied)}
	server.Draining = func(open int) {
		r.drained = true
		r.out.events.Emit(event.Draining{Open: open})
		if len(r.flags.Command) == 0 { // a command that has ended wants no words
			say(r.env, fmt.Sprintf("draining %s for up to %v; interrupt again to cut now", connections(open), localproxy.DrainTimeout))
		}
		if r.opened.Drain != nil {
			r.opened.Drain()
		}
	}
	server.Cut = func(open int) { say(r.env, "cut "+connections(open)) }
	return server
}

// stopping tells that no more clients are served.
func (r *serving) stopping() {
	r.stop.Do(func() {
		r.withdraw()
		r.out.stopping()
	})
}

// withdraw removes what leads clients here.
func (r *serving) withdraw() {
	r.leave.Do(func() {
		if r.opened.Stop != nil {
			if err := r.opened.Stop(); err != nil {
				warn(r.env, "%v", err)
			}
		}
	})
}

// close ends what was begun, in the order in which it depends on each other.
func (r *serving) close() {
	r.stopping()
	for _, w := range r.watches {
		w.Stop()
	}
	if r.opened.Close != nil {
		r.opened.Close()
	}
	r.pool.Close()
	if !r.drained {
		r.out.events.Emit(event.Draining{})
	}
}

// The kinds of resources, as scripts know them.
const (
	kindDB   = "db"
	kindApp  = "app"
	kindKube = "kube"
)
