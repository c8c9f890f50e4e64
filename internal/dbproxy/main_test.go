package dbproxy

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain looks for leaks. The thread that starts real servers lives as long as
// the test binary.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("tshx/integration/peer.init.func1.1"))
}
