//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// endBySIGINT ends this process as if it had not caught the signal.
func endBySIGINT() {
	signal.Reset(syscall.SIGINT)
	syscall.Kill(os.Getpid(), syscall.SIGINT)
	time.Sleep(time.Second) // it ends before that, unless the signal is ignored
}

// replaceBy makes this process the program at path, with our environment. args
// begin with its name. It returns only if that failed.
func replaceBy(_ context.Context, _ *Env, path string, args []string) error {
	return fmt.Errorf("run %s: %w", path, syscall.Exec(path, args, os.Environ()))
}
