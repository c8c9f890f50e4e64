package program

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// ExitInterrupted is the exit code after a second signal.
const ExitInterrupted = 130

// sameSignal is the time within which signals count as one: timeout(1) sends
// its signal to the process and to the group, and a terminal that closes sends
// SIGHUP after SIGINT.
const sameSignal = 200 * time.Millisecond

// signalError is the cause of the context that a signal has ended.
type signalError struct {
	sig os.Signal
}

func (e signalError) Error() string { return "received " + e.sig.String() }

// caught are the signals that Signals waits for.
type caught struct {
	ch   chan os.Signal
	sigs []os.Signal

	mu   sync.Mutex
	pass int // how many have asked to let them pass
}

type caughtKey struct{}

// Signals returns a context that the first SIGINT, SIGTERM, SIGQUIT or SIGHUP ends. A
// second one, later than sameSignal, exits the process at once.
//
// SIGPIPE is ignored here, so that a reader of our output who leaves does not
// end the connections of others; children still get the default.
func Signals(parent context.Context) (context.Context, func()) {
	ch := make(chan os.Signal, 2)
	c := &caught{ch: ch, sigs: []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT}}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup(1) wants it
		c.sigs = append(c.sigs, syscall.SIGHUP)
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(parent, caughtKey{}, c))
	signal.Notify(ch, c.sigs...)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		var first time.Time
		for sig := range ch {
			switch {
			case first.IsZero():
				first = time.Now()
				cancel(signalError{sig})
			case time.Since(first) >= sameSignal:
				os.Exit(ExitInterrupted)
			}
		}
	}()
	return ctx, func() { signal.Stop(ch); cancel(nil) }
}

// PassSignals makes the signals that Signals waits for do nothing until release
// is called: somebody else sees to them, such as a program that runs in our
// place. So that none is lost, that other must be ready for them before
// (child.Command.Signals). What has come before ends ctx as ever. A ctx that is
// not from Signals has none to pass.
func PassSignals(ctx context.Context) (release func()) {
	c, ok := ctx.Value(caughtKey{}).(*caught)
	if !ok {
		return func() {}
	}
	nobody := make(chan os.Signal, 1) // so that none ends the process
	signal.Notify(nobody, c.sigs...)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pass++; c.pass == 1 {
		signal.Stop(c.ch) // what has come by now is in there, and counts
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.pass--; c.pass == 0 {
			signal.Notify(c.ch, c.sigs...)
		}
		signal.Stop(nobody)
	}
}

// Signalled reports whether a signal has ended ctx.
func Signalled(ctx context.Context) bool {
	var s signalError
	return errors.As(context.Cause(ctx), &s)
}
