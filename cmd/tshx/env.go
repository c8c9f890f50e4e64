package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"syscall"
	"time"
)

// Env is all that a command may use of the process it runs in.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer // the answer; in `proxy ssh` the wire
	Stderr io.Writer // talk
	Getenv func(string) string
	Now    func() time.Time
	Log    *slog.Logger
}

func systemEnv() *Env {
	return &Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
}

// home returns the user's home directory, or "" if there is none.
func (e *Env) home() string {
	if h := e.Getenv("HOME"); h != "" {
		return h
	}
	h, _ := os.UserHomeDir() // without one, TELEPORT_HOME must be set, which the profile's error says
	return h
}

// osUser returns the name of the user who runs the process, or "".
func (e *Env) osUser() string {
	if u := e.Getenv("USER"); u != "" {
		return u
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// cacheFile returns the path of a file of ours that may be lost at any time,
// or "" if there is no place for one.
func (e *Env) cacheFile(name string) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "tshx", name)
}

// signalError is the cause of the context that a signal has ended.
type signalError struct {
	sig os.Signal
}

func (e signalError) Error() string { return "received " + e.sig.String() }

// exitInterrupted is the exit code after a second signal.
const exitInterrupted = 130

// sameSignal is the time within which signals count as one: timeout(1) sends
// its signal to the process and to the group, and a terminal that closes sends
// SIGHUP after SIGINT.
const sameSignal = 200 * time.Millisecond

// notifySignals returns a context that the first SIGINT, SIGTERM or SIGHUP
// ends. A second one, later than sameSignal, exits the process at once.
//
// SIGPIPE is ignored here, so that a reader of our standard error who leaves
// does not end the connections of others; children still get the default.
func notifySignals(parent context.Context, exit func(int)) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		sig := <-ch
		first := time.Now()
		cancel(signalError{sig})
		for range ch {
			if time.Since(first) >= sameSignal {
				exit(exitInterrupted)
			}
		}
	}()
	return ctx, func() { signal.Stop(ch); cancel(nil) }
}

// signalled reports whether a signal has ended ctx.
func signalled(ctx context.Context) bool {
	var s signalError
	return errors.As(context.Cause(ctx), &s)
}
