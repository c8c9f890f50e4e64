package lab

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/creack/pty"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// drain is how long output is waited for that a command's own children may
// still write once it has ended itself.
const drain = 2 * time.Second

// hangUp is how long a command has to end after its client has gone.
const hangUp = 2 * time.Second

// run runs a command in the shell, or the shell itself if it is empty, and
// returns the exit status. It ends early when the client goes.
func (s *session) run(command string) int {
	cmd := shell(command)
	cmd.Env = append(os.Environ(), s.env...)
	if dir, err := os.UserHomeDir(); err == nil {
		cmd.Dir = dir
	}
	wait := s.startPipes
	if s.term != "" {
		cmd.Env = append(cmd.Env, "TERM="+s.term)
		wait = s.startTerminal
	}
	finish, err := wait(cmd)
	if err != nil {
		io.WriteString(s.ch.Stderr(), err.Error()+"\r\n")
		return 127
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-ended:
			return
		case <-s.gone:
			signalGroup(cmd.Process, false)
		}
		select {
		case <-ended:
		case <-time.After(hangUp):
			signalGroup(cmd.Process, true)
		}
	}()
	err = finish()
	close(ended)
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0
	case errors.As(err, &exit):
		return exitStatus(exit.ProcessState)
	}
	io.WriteString(s.ch.Stderr(), err.Error()+"\r\n")
	return 255
}

// startPipes starts cmd on the channel and returns what waits for its end.
func (s *session) startPipes(cmd *exec.Cmd) (func() error, error) {
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = s.ch, s.ch.Stderr(), drain
	newGroup(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		io.Copy(stdin, s.ch) // ends with the command or with the client's EOF
		stdin.Close()
	}()
	return cmd.Wait, nil
}

// startTerminal is startPipes for a client that asked for a terminal.
func (s *session) startTerminal(cmd *exec.Cmd) (func() error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := pty.Start(cmd)
	if err != nil {
		return nil, err
	}
	s.pty = f
	setSize(f, s.size)
	go io.Copy(f, s.ch)
	output := make(chan struct{})
	go func() {
		io.Copy(s.ch, f) // ends with an error when the last user of the terminal has gone
		close(output)
	}()
	return func() error {
		err := cmd.Wait()
		select {
		case <-output:
		case <-time.After(drain):
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pty = nil
		f.Close()
		<-output
		return err
	}, nil
}

func setSize(f *os.File, t terminalSize) error {
	return pty.Setsize(f, &pty.Winsize{Rows: uint16(t.Rows), Cols: uint16(t.Columns), X: uint16(t.Width), Y: uint16(t.Height)})
}

// sftp serves the sftp subsystem.
func (s *session) sftp() int {
	var o []sftp.ServerOption
	if dir, err := os.UserHomeDir(); err == nil {
		o = append(o, sftp.WithServerWorkingDirectory(dir))
	}
	server, err := sftp.NewServer(openChannel{s.ch}, o...)
	if err != nil {
		return 1
	}
	defer server.Close()
	if err := server.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return 1
	}
	return 0
}

// openChannel stays open when the sftp server closes it, for the exit status
// to follow.
type openChannel struct{ ssh.Channel }

func (openChannel) Close() error { return nil }
