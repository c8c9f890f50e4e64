//go:build !unix

package child

import (
	"os"
	"syscall"
)

// wanted are the signals that must not end us while the program runs. All who
// share a console get its Ctrl-C.
func wanted() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// terminal is the console.
type terminal struct{}

func openTerminal() terminal { return terminal{} }

func (terminal) close() {}

// sent is true: nothing can be passed on, and the console has told all.
func (terminal) sent(os.Signal) bool { return true }

func terminate(p *os.Process) error { return p.Kill() }

func exitCode(s *os.ProcessState) int { return s.ExitCode() }
