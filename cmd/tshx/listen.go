package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"tshx/internal/localproxy"
	"tshx/internal/program"
)

// listenFlags are the flags of every command that listens.
type listenFlags struct {
	Port           uint16 `short:"p" placeholder:"PORT" help:"Local port. Default: a free one."`
	Listen         string `placeholder:"HOST[:PORT]" help:"Local address. Default: 127.0.0.1."`
	Anywhere       bool   `name:"insecure-listen-anywhere" help:"Allow --listen on an address that other machines reach. Whoever connects acts as you."`
	ExitWithParent bool   `name:"exit-with-parent" help:"End when the process that started tshx has ended."`
}

// listen opens the listener that the flags ask for.
func (f listenFlags) listen() (net.Listener, error) {
	host, port := "127.0.0.1", strconv.Itoa(int(f.Port))
	if f.Listen != "" {
		h, p, err := net.SplitHostPort(f.Listen)
		switch {
		case err != nil:
			host = strings.Trim(f.Listen, "[]")
		case f.Port != 0:
			return nil, program.Usagef("--listen %s and --port %d both name a port; use one", f.Listen, f.Port)
		default:
			host, port = h, p
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return nil, program.Usagef("--listen %s: %q is not a port number", f.Listen, port)
		}
	}
	return localproxy.Listen(net.JoinHostPort(host, port), f.Anywhere)
}

// serve runs the tunnel on ln until a signal and drains.
func (f listenFlags) serve(ctx context.Context, env *Env, ln net.Listener, t *localproxy.Tunnel) error {
	if f.ExitWithParent {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		if err := watchParent(ctx, func() { cancel(errParentGone) }); err != nil {
			ln.Close()
			return fmt.Errorf("--exit-with-parent: %w", err)
		}
	}
	r := &reporter{env: env, what: t.Route}
	t.Report, t.Log = r.report, env.Log
	s := &localproxy.Server{Handler: t, Log: env.Log}
	s.Draining = func(open int) {
		fmt.Fprintf(env.Stderr, "tshx: draining %s for up to %v; interrupt again to cut now\n", connections(open), localproxy.DrainTimeout)
	}
	s.Cut = func(open int) { fmt.Fprintf(env.Stderr, "tshx: cut %s\n", connections(open)) }
	return s.Serve(ctx, ln)
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// reporter prints why connections failed, and the same reason only once in a
// while: a client that retries must not flood the terminal.
type reporter struct {
	env  *Env
	what string

	mu   sync.Mutex
	last string
	at   time.Time
}

const repeatAfter = 10 * time.Second

func noDigit(r rune) rune {
	if '0' <= r && r <= '9' {
		return -1
	}
	return r
}

func (r *reporter) report(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := explain(err)
	now := r.env.Now()
	reason := strings.Map(noDigit, line) // ports of our own differ each time
	if reason == r.last && now.Sub(r.at) < repeatAfter {
		return
	}
	r.last, r.at = reason, now
	fmt.Fprintf(r.env.Stderr, "tshx: connection to %s failed: %s\n", r.what, line)
}
