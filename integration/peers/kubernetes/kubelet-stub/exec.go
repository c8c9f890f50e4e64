package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/creack/pty"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// ExecInContainer runs cmd here until it ends. A client that goes away does not
// end it, as in a real container.
func (c *container) ExecInContainer(_ context.Context, _, _, _ string, cmd []string, in io.Reader, out, errs io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	if len(cmd) == 0 {
		return errors.New("no command")
	}
	p := exec.Command(cmd[0], cmd[1:]...)
	p.Dir = c.dir
	if tty {
		return exitOf(onTerminal(p, in, out, resize))
	}
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out != nil {
		p.Stdout = out
	}
	if errs != nil {
		p.Stderr = errs
	}
	if in != nil {
		// By a pipe of our own, as the command's end does not wait for a client
		// that keeps its standard input open.
		pipe, err := p.StdinPipe()
		if err != nil {
			return err
		}
		defer pipe.Close()
		go func() {
			io.Copy(pipe, in) // the command, or the client, has ended
			pipe.Close()
		}()
	}
	if err := start(p.Start); err != nil {
		return err
	}
	return exitOf(p.Wait())
}

// onTerminal runs p on a terminal of its own.
func onTerminal(p *exec.Cmd, in io.Reader, out io.Writer, resize <-chan remotecommand.TerminalSize) error {
	p.Env = append(os.Environ(), "TERM=xterm")
	var terminal *os.File
	attrs := &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	err := start(func() (err error) {
		terminal, err = pty.StartWithAttrs(p, nil, attrs)
		return err
	})
	if err != nil {
		return err
	}
	go func() {
		for size := range resize {
			pty.Setsize(terminal, &pty.Winsize{Cols: size.Width, Rows: size.Height}) // the command may have ended
		}
	}()
	if in != nil {
		go io.Copy(terminal, in)
	}
	if out == nil {
		out = io.Discard
	}
	io.Copy(out, terminal) // ends with EIO once nobody has the terminal open
	terminal.Close()       // hangs up where the client has ended first
	return p.Wait()
}

// exitOf turns the error of a command that ran into what the library takes the
// exit code from.
func exitOf(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	code := exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return utilexec.CodeExitError{Err: err, Code: code}
}
