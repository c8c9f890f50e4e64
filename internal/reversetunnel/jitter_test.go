package reversetunnel

import (
	"testing"
	"time"
)

// Agents that lost their proxy at the same moment do not come back all at once:
// pauses are spread over half of their length.
func TestPausesSpread(t *testing.T) {
	for failed := range 12 {
		first, last := time.Hour, time.Duration(0)
		for range 200 {
			d := pause(failed)
			first, last = min(first, d), max(last, d)
		}
		if spread := last - first; spread < last/4 {
			t.Errorf("pauses after %d failures are all from %v to %v", failed, first, last)
		}
	}
}
