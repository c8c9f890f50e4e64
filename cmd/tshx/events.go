package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	"tshx/internal/event"
	"tshx/internal/localproxy"
	"tshx/internal/program"
	"tshx/internal/ready"
	"tshx/internal/tlsroute"
)

// outlets are where a listening command tells programs about itself.
type outlets struct {
	env      *Env
	events   *event.Writer // nil without --events
	portFile *ready.File   // nil without --port-file
	readyFD  *os.File      // nil without --ready-fd, and once it was used
	manager  string        // the service manager's socket; may be empty
	stop     sync.Once
}

// outlets opens what the flags name; ctx bounds the wait for a reader. The
// caller closes it.
func (f *listenFlags) outlets(ctx context.Context, env *Env) (_ *outlets, err error) {
	o := &outlets{env: env, manager: env.Getenv(ready.EnvNotify)}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if f.PortFile != "" {
		if o.portFile, err = ready.NewFile(f.PortFile); err != nil {
			return nil, fmt.Errorf("--port-file %s: %w", f.PortFile, bare(err))
		}
	}
	if f.ReadyFD != nil {
		if f.Events == fmt.Sprintf("fd:%d", *f.ReadyFD) {
			return nil, program.Usagef("--ready-fd and --events cannot share descriptor %d", *f.ReadyFD)
		}
		if o.readyFD, err = ready.OpenFD(*f.ReadyFD); err != nil {
			return nil, program.Usagef("--ready-fd: %v", err)
		}
	}
	if f.Events != "" {
		out, err := openEvents(ctx, env, f.Events)
		if err != nil {
			return nil, err
		}
		o.events = event.NewWriter(out)
		o.events.Failed = func(err error) { warn(env, "--events %s: %v; no more events are written", f.Events, bare(err)) }
	}
	return o, nil
}

// listening tells that clients can connect.
func (o *outlets) listening(a *announcement, what string) error {
	o.events.Emit(event.Listening{
		Address: a.Address, Host: a.Host, Port: a.Port, Socket: a.Socket, Kind: a.Kind, Engine: a.Engine,
		Resource: a.Resource, Cluster: a.Cluster, Mode: a.Mode, PID: a.PID,
	})
	if o.portFile != nil {
		text := a.Address
		if a.Port != nil {
			text = strconv.Itoa(*a.Port)
		}
		if err := o.portFile.Publish(text); err != nil {
			return fmt.Errorf("--port-file: %w", bare(err))
		}
	}
	if o.readyFD != nil {
		_, err := fmt.Fprintln(o.readyFD, a.Address)
		err = errors.Join(err, o.readyFD.Close())
		o.readyFD = nil
		if err != nil {
			return fmt.Errorf("--ready-fd: %w", bare(err))
		}
	}
	o.notify("READY=1\nSTATUS=" + what + " on " + a.Address)
	return nil
}

// stopping tells that no more clients are served.
func (o *outlets) stopping() {
	o.stop.Do(func() {
		if o.portFile != nil {
			o.portFile.Remove()
		}
		o.notify("STOPPING=1\nSTATUS=draining")
	})
}

func (o *outlets) notify(state string) {
	if err := ready.Notify(o.manager, state); err != nil {
		warn(o.env, "cannot tell the service manager: %v", err)
		o.manager = ""
	}
}

// close ends what the outlets have begun.
func (o *outlets) close() {
	o.stopping()
	if o.readyFD != nil {
		o.readyFD.Close()
	}
	o.events.Close() // what was written was written; a failure has been told
}

func (o *outlets) opened(c localproxy.Connection) {
	o.events.Emit(event.ConnOpen{ID: c.ID, Client: c.Client.String()})
}

func (o *outlets) closed(c localproxy.Connection, end localproxy.End) {
	if o.events == nil {
		return
	}
	e := event.ConnClose{
		ID: c.ID, Sent: end.Sent, Received: end.Received, Reason: string(end.Reason),
		DurationMS: milliseconds(end.Duration),
	}
	if end.Err != nil {
		e.Error = notEmpty(program.Line(end.Err))
	}
	o.events.Emit(e)
}

func (o *outlets) denied(c net.Conn, err error) {
	o.events.Emit(event.ConnDenied{Client: c.RemoteAddr().String(), Error: program.Line(err)})
}

// verdicts tells how the proxy is reached, when that is found out and when it
// has changed.
type verdicts struct {
	finder *tlsroute.Finder
	events *event.Writer

	mu   sync.Mutex
	told bool
	last event.Verdict
}

// find finds out.
func (v *verdicts) find(ctx context.Context) {
	way := v.finder.Find(ctx)
	if ctx.Err() == nil {
		v.tell(way)
	}
}

// look tells what is known by now.
func (v *verdicts) look() {
	if v.events == nil {
		return
	}
	if way, ok := v.finder.Known(); ok {
		v.tell(way)
	}
}

func (v *verdicts) tell(way tlsroute.Way) {
	now := event.Verdict{
		Upgrade: way.Upgrade, Method: string(way.Method), Evidence: way.Evidence,
		Detail: program.Line(errors.New(way.Detail)), Source: string(way.Source),
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.told && now.Upgrade == v.last.Upgrade && now.Method == v.last.Method {
		return
	}
	v.told, v.last = true, now
	v.events.Emit(now)
}
