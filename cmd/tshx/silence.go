package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// silenceError says which part did not answer a ping in time.
type silenceError struct {
	d     *database
	after time.Duration
	proxy bool // the proxy, otherwise what is behind it
	err   error
}

func (e *silenceError) Error() string {
	after := e.after.Round(100 * time.Millisecond)
	if e.proxy {
		return fmt.Sprintf("ping %s: the proxy did not answer within %v: %v", e.d.title(), after, e.err)
	}
	return fmt.Sprintf("ping %s: the database did not answer within %v", e.d.title(), after)
}

func (e *silenceError) Unwrap() error { return e.err }

// Hint says what to look at.
func (e *silenceError) Hint() string {
	if e.proxy {
		return hint(e.err)
	}
	return "the proxy took the connection; look at the database, and at the service that connects the proxy to it"
}

// timedOut reports whether err says that a wait was too long: for a context or
// for a connection.
func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
