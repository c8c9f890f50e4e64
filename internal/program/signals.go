package program

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
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

// passing counts those who asked to let signals pass.
type passing struct {
	atomic.Int32
}

type passingKey struct{}

// Signals returns a context that the first SIGINT, SIGTERM or SIGHUP ends. A
// second one, later than sameSignal, exits the process at once.
//
// SIGPIPE is ignored here, so that a reader of our output who leaves does not
// end the connections of others; children still get the default.
func Signals(parent context.Context) (context.Context, func()) {
	pass := &passing{}
	ctx, cancel := context.WithCancelCause(context.WithValue(parent, passingKey{}, pass))
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup(1) wants it
		signal.Notify(ch, syscall.SIGHUP)
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		var first time.Time
		for sig := range ch {
			switch {
			case pass.Load() > 0:
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
// place (internal/child). A ctx that is not from Signals has none to pass.
func PassSignals(ctx context.Context) (release func()) {
	pass, ok := ctx.Value(passingKey{}).(*passing)
	if !ok {
		return func() {}
	}
	pass.Add(1)
	return func() { pass.Add(-1) }
}

// Signalled reports whether a signal has ended ctx.
func Signalled(ctx context.Context) bool {
	var s signalError
	return errors.As(context.Cause(ctx), &s)
}
