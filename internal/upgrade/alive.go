package upgrade

import (
	"sync/atomic"
	"time"
)

// KeepAlive is how long a client writes nothing before it sends something that
// carries nothing: an empty frame of ping framing, or a Pong that nobody asked
// for (RFC 6455, section 5.5.3). Balancers cut connections on which nothing
// moves, some after 15 s, and servers ping every 30 s only.
const KeepAlive = 10 * time.Second

// keepAlive calls a function when nothing was written for KeepAlive. It needs no
// goroutine while it waits, and a write costs it a look at the clock. A nil
// keepAlive does nothing.
type keepAlive struct {
	send  func() error // an error ends the keepAlive
	start time.Time
	last  atomic.Int64 // when something was written, in nanoseconds since start
	timer *time.Timer
}

func newKeepAlive(send func() error) *keepAlive {
	k := &keepAlive{send: send, start: time.Now()}
	// Started in the far future so that check finds the timer set.
	k.timer = time.AfterFunc(1<<62, k.check)
	k.timer.Reset(KeepAlive)
	return k
}

func (k *keepAlive) wrote() {
	if k != nil {
		k.last.Store(int64(time.Since(k.start)))
	}
}

func (k *keepAlive) check() {
	left := KeepAlive - (time.Since(k.start) - time.Duration(k.last.Load()))
	if left <= 0 {
		if k.send() != nil {
			return
		}
		k.wrote()
		left = KeepAlive
	}
	k.timer.Reset(left)
}

// stop ends it but for a send that is under way, which Close of the connection
// interrupts.
func (k *keepAlive) stop() {
	if k != nil {
		k.timer.Stop()
	}
}
