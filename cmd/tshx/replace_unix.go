//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// replaceBy makes this process the program at path, with our environment. args
// begin with its name. It returns only if that failed.
func replaceBy(_ context.Context, _ *Env, path string, args []string) error {
	return fmt.Errorf("run %s: %w", path, syscall.Exec(path, args, os.Environ()))
}
