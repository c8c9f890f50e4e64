//go:build unix

package child

import (
	"os"
	"syscall"
)

// interrupted reports whether SIGINT has ended a program.
func interrupted(state *os.ProcessState) bool {
	if state == nil {
		return false
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGINT
}
