package child

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the program when we are gone
// (PR_SET_PDEATHSIG in prctl(2)). Whoever calls cmd.Start stays on its thread
// until the program has ended.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
