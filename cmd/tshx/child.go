package main

import (
	"context"

	"tshx/internal/child"
	"tshx/internal/program"
)

// runChild runs a program in our place, with our standard streams. Its signals
// are its own until it has ended; see child.Command.Run.
func runChild(ctx context.Context, env *Env, c child.Command) (code int, err error) {
	c.Signals = func() (release func()) { return program.PassSignals(ctx) }
	c.Interrupted = func() { env.Interrupted = true }
	c.Stdin, c.Stdout, c.Stderr = env.Stdin, env.Stdout, env.Stderr
	return c.Run(ctx)
}
