//go:build unix

package program

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// raise sends SIGTERM to us and returns when all who listen have it.
func raise(t *testing.T) {
	t.Helper()
	seen := make(chan os.Signal, 1)
	signal.Notify(seen, syscall.SIGTERM)
	defer signal.Stop(seen) // waits for the delivery to the others
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-seen
}

// A signal that has come before somebody else takes over is not forgotten.
func TestSignalBeforePass(t *testing.T) {
	for range 200 {
		ctx, stop := Signals(t.Context())
		raise(t)
		release := PassSignals(ctx)
		<-ctx.Done()
		if !Signalled(ctx) {
			t.Fatal("not by the signal")
		}
		release()
		stop()
	}
}

// Signals pass until everybody who asked for it has released them.
func TestPassSignals(t *testing.T) {
	ctx, stop := Signals(t.Context())
	defer stop()
	first, second := PassSignals(ctx), PassSignals(ctx)
	raise(t)
	first()
	raise(t)
	if err := ctx.Err(); err != nil {
		t.Fatalf("a signal that was to pass: %v", err)
	}
	second()
	raise(t)
	<-ctx.Done()
	if !Signalled(ctx) {
		t.Error("not by the signal")
	}
}
