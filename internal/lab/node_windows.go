package lab

import (
	"os"
	"os/exec"
)

const canTerminal = false

func shell(command string) *exec.Cmd {
	if command != "" {
		return exec.Command("cmd.exe", "/c", command)
	}
	return exec.Command("cmd.exe")
}

func newGroup(*exec.Cmd) {}

func signalGroup(p *os.Process, _ bool) { p.Kill() }

func exitStatus(st *os.ProcessState) int { return st.ExitCode() }
