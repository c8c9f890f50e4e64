//go:build unix && !linux

package main

import (
	"context"
	"os"
	"time"
)

// parentPoll is how often the parent is looked at where the system has no way
// to wait for a process that is not a child.
const parentPoll = time.Second

// watchParent calls gone when the process that started this one has ended.
func watchParent(ctx context.Context, gone func()) error {
	ppid := os.Getppid()
	go func() {
		tick := time.NewTicker(parentPoll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if os.Getppid() != ppid {
					gone()
					return
				}
			}
		}
	}()
	return nil
}
