//go:build !windows

package lab

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

const canTerminal = true

// shell returns the user's shell, to run a command or as a login shell.
func shell(command string) *exec.Cmd {
	path := cmp.Or(os.Getenv("SHELL"), "/bin/sh")
	if command != "" {
		return exec.Command(path, "-c", command)
	}
	cmd := exec.Command(path)
	cmd.Args[0] = "-" + filepath.Base(path)
	return cmd
}

// newGroup makes cmd the leader of a process group, so that signalGroup reaches
// its children. A command on a terminal leads one already.
func newGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func signalGroup(p *os.Process, kill bool) {
	sig := syscall.SIGHUP
	if kill {
		sig = syscall.SIGKILL
	}
	syscall.Kill(-p.Pid, sig)
}

// exitStatus is the status by which shells report the end of a command.
func exitStatus(st *os.ProcessState) int {
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return st.ExitCode()
}
