//go:build unix

package child

import (
	"os"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// wanted are the signals that are passed on, but for those that whoever started
// us wants ignored, as nohup(1) does.
func wanted() []os.Signal {
	return slices.DeleteFunc([]os.Signal{
		syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGWINCH, syscall.SIGUSR1, syscall.SIGUSR2,
	}, signal.Ignored)
}

// terminal is the one that controls our session; nil if there is none.
type terminal struct {
	*os.File
}

func openTerminal() terminal {
	f, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return terminal{}
	}
	return terminal{f}
}

func (t terminal) close() {
	if t.File != nil {
		t.Close()
	}
}

// sent reports whether s, which has reached us, comes from the terminal and has
// thus reached the program too. That cannot be seen of a signal: it is taken for
// granted as long as the terminal is ours. SIGINT for us alone from somewhere
// else is therefore lost on a terminal; SIGTERM never is.
func (t terminal) sent(s os.Signal) bool {
	if t.File == nil {
		return false
	}
	foreground, err := unix.IoctlGetInt(int(t.Fd()), unix.TIOCGPGRP)
	switch s {
	case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGWINCH:
		return err == nil && foreground == unix.Getpgrp()
	case syscall.SIGHUP:
		// When a terminal goes, the leader of the session alone hears of it
		// from the kernel, and the groups from the leader or by its end.
		leader, _ := unix.Getsid(0)
		return err != nil && leader != os.Getpid()
	}
	return false
}

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}
