package program

import (
	"context"
	"errors"
	"os"
	"os/signal"
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

// Signals returns a context that the first SIGINT, SIGTERM or SIGHUP ends. A
// second one, later than sameSignal, exits the process at once.
//
// SIGPIPE is ignored here, so that a reader of our output who leaves does not
// end the connections of others; children still get the default.
func Signals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup(1) wants it
		signal.Notify(ch, syscall.SIGHUP)
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	go func() {
		sig := <-ch
		first := time.Now()
		cancel(signalError{sig})
		for range ch {
			if time.Since(first) >= sameSignal {
				os.Exit(ExitInterrupted)
			}
		}
	}()
	return ctx, func() { signal.Stop(ch); cancel(nil) }
}

// Signalled reports whether a signal has ended ctx.
func Signalled(ctx context.Context) bool {
	var s signalError
	return errors.As(context.Cause(ctx), &s)
}
