package conn

import (
	"runtime/debug"
	"sync/atomic"
	"time"
)

// A thousand TLS handshakes leave garbage and grown stacks, of many times the
// size of what idle connections need, until the next collection; and an idle
// program collects every two minutes only.
const (
	tidyEvery = 128             // connections that begin or end before memory is given back
	tidyAfter = 2 * time.Second // from then on, so that a burst is tidied up after once
)

// tidy is of the process, as its memory is.
var tidy struct {
	changes atomic.Int64 // since memory was given back
	due     atomic.Bool
}

// changed is called when a connection begins and when it has ended.
func changed() {
	if tidy.changes.Add(1) >= tidyEvery && tidy.due.CompareAndSwap(false, true) {
		time.AfterFunc(tidyAfter, func() {
			tidy.changes.Store(0)
			tidy.due.Store(false)
			debug.FreeOSMemory()
		})
	}
}
