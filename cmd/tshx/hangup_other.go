//go:build !unix

package main

import (
	"context"
	"io"
)

// watchHangup has no means here; a reader that leaves is noticed at the next
// write.
func watchHangup(context.Context, io.Writer, func()) {}
