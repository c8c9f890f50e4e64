package reversetunnel

import (
	"math/rand/v2"
	"time"
)

// Bounds of the pause before a new try. The first try after a loss comes soon,
// and none much later than backoffMax: a proxy that is back has its agents within
// 5 s. The jitter keeps the agents of a proxy from coming back all at once.
const (
	backoffSoon = 100 * time.Millisecond
	backoffMin  = 200 * time.Millisecond
	backoffMax  = 3 * time.Second
	// stable is how long a tunnel has to live to count as a success. A proxy that
	// drops each one at once gets no storm.
	stable = backoffMax
)

// pause returns how long to wait before a try when that many have failed.
func pause(failed int) time.Duration {
	if failed == 0 {
		return rand.N(backoffSoon)
	}
	d := backoffMin << min(failed-1, 10)
	d = min(d, backoffMax)
	return d/2 + rand.N(d/2)
}
