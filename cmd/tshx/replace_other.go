//go:build !unix

package main

import (
	"context"

	"tshx/internal/child"
)

// endBySIGINT does nothing: there are no signals here.
func endBySIGINT() {}

// replaceBy runs the program at path, with our environment, and ends with its
// exit code. args begin with its name.
func replaceBy(ctx context.Context, env *Env, path string, args []string) error {
	code, err := runChild(ctx, env, child.Command{Args: append([]string{path}, args[1:]...)})
	if err != nil {
		return err
	}
	return childExit(code)
}
