// Package child runs another program in our place: with our terminal, our
// signals and its exit code.
//
//	code, err := child.Command{Args: []string{"psql", url}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}.Run(ctx)
//
// The program stays in our process group. What the terminal sends, such as
// Ctrl-C, it gets from the terminal, as often as it is pressed; what is sent to
// us alone is passed on. No signal is answered here and none grows stronger: a
// program that ignores SIGTERM stays until SIGKILL. The program does not outlive
// us on Linux, not even when we are killed with SIGKILL. Other systems have
// nothing for that: there it notices when its connection breaks.
//
// Programs that the program starts are its own affair.
package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync/atomic"
	"time"
)

// KillAfter is how long a program may take to end once it has been asked to
// because the context has ended.
const KillAfter = 5 * time.Second

// sameSignal is the time within which a signal that comes twice counts once:
// timeout(1) sends its signal to the process and to the group.
const sameSignal = 200 * time.Millisecond

// Command is a program to run.
type Command struct {
	Args []string // the program, looked up in PATH, and its arguments
	Env  []string // KEY=value, in addition to our environment
	// Files are passed as they are, so that a terminal stays one. Anything else
	// is copied through a pipe. Nil is the null device.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Signals is called when Run has begun to pass signals on, and what it
	// returns when Run is about to stop that: whoever else answers them holds
	// still in between, and none is lost. Nil does nothing.
	Signals func() (release func())
	// Interrupted is called when SIGINT has ended the program. Nil does nothing.
	Interrupted func()
}

// NotFoundError says that a program is not installed.
type NotFoundError struct {
	Program string
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("program %s is not installed", e.Program) }

// Run runs the program to its end and returns its exit code, which for one that
// signal n has ended is 128+n, as shells have it. The error is for a program
// that did not start, *NotFoundError when it is not there, or the cause of ctx
// if that has ended: the program then gets SIGTERM, and SIGKILL after KillAfter.
func (c Command) Run(ctx context.Context) (code int, err error) {
	cmd, err := c.prepare(ctx)
	if err != nil {
		return 0, err
	}
	var asked atomic.Bool // to end, because ctx has
	cmd.Cancel = func() error {
		err := terminate(cmd.Process)
		asked.Store(err == nil)
		return err
	}
	sigs := make(chan os.Signal, 16)
	signal.Notify(sigs, wanted()...) // before the start, so that none ends us and leaves the program
	defer signal.Stop(sigs)
	if c.Signals != nil {
		defer c.Signals()()
	}
	tty := openTerminal()
	defer tty.close()

	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The kernel kills the program when the thread that started it ends,
		// and Go ends threads as it likes, but not one that is locked.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return 0, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	last := map[os.Signal]time.Time{}
	for {
		select {
		case s := <-sigs:
			if now := time.Now(); !tty.sent(s) && now.Sub(last[s]) >= sameSignal {
				last[s] = now
				cmd.Process.Signal(s) // fails only if it has just ended
			}
		case err := <-ended:
			if asked.Load() {
				err = context.Cause(ctx)
			}
			if c.Interrupted != nil && interrupted(cmd.ProcessState) {
				c.Interrupted()
			}
			return result(cmd.ProcessState, err)
		}
	}
}

func (c Command) prepare(ctx context.Context) (*exec.Cmd, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	path, err := exec.LookPath(c.Args[0])
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{c.Args[0]}
	} else if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	cmd := exec.CommandContext(ctx, path, c.Args[1:]...)
	cmd.Args[0] = c.Args[0]
	cmd.Env = append(os.Environ(), c.Env...) // of two the later counts
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.WaitDelay = KillAfter
	dieWithParent(cmd)
	return cmd, nil
}

// result tells how a program has ended. An exit code is no error.
func result(state *os.ProcessState, err error) (int, error) {
	if state == nil {
		return 0, err
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	return exitCode(state), err
}
