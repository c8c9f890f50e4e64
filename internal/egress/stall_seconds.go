//go:build darwin || windows

package egress

import (
	"math"
	"time"
)

// seconds rounds up to whole ones.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }
