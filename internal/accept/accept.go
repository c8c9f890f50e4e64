// Package accept takes connections from a listener and keeps account of them.
//
//	var set accept.Set
//	err := accept.Loop(ctx, ln, func(c net.Conn) { set.Go(c, serve) })
//	set.Close()
//	set.Wait()
//
// Local proxies and the server half stand on it. It does not look at what a
// connection carries.
package accept

import (
	"context"
	"errors"
	"net"
	"time"
)

// Bounds of the pause after an Accept that failed for a passing reason, such
// as too many open files.
const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// Loop calls handle with each connection of ln, in the loop's own goroutine,
// until ctx ends or ln is closed; both end it with nil. It closes ln. Any other
// error of Accept is waited out with growing pauses: a listener that gives up
// because of one bad moment is worth nothing.
func Loop(ctx context.Context, ln net.Listener, handle func(net.Conn)) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer ln.Close()
	var pause time.Duration
	for {
		c, err := ln.Accept()
		switch {
		case err == nil:
			pause = 0
			handle(c)
		case ctx.Err() != nil, errors.Is(err, net.ErrClosed):
			return nil
		default:
			pause = min(max(2*pause, minBackoff), maxBackoff)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}
