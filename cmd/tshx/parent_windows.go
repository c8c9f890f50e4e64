package main

import (
	"context"
	"errors"
)

// watchParent is not possible here: the number of a parent that has ended may be
// that of another process.
func watchParent(context.Context, func()) error {
	return errors.New("not supported on Windows")
}
