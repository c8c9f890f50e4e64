package tlsroute

import (
	"testing"
	"time"
)

// One dial on a busy machine does not make all later ones patient.
func TestPaceLearn(t *testing.T) {
	var p pace
	for _, tt := range []struct{ took, want time.Duration }{
		{8 * time.Second, 8 * time.Second}, // nothing else is known
		{100 * time.Millisecond, 100 * time.Millisecond},
		{8 * time.Second, 200 * time.Millisecond},
		{8 * time.Second, 400 * time.Millisecond},
		{300 * time.Millisecond, 300 * time.Millisecond},
		{0, time.Millisecond},
	} {
		if p.learn(tt.took); p.gap != tt.want {
			t.Errorf("after a dial of %v: %v, want %v", tt.took, p.gap, tt.want)
		}
	}
}
