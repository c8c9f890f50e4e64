//go:build unix

package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// told are the signals that the program named tell prints.
var told = []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1}

// die ends by the signal of its argument, a number.
func die(args []string) int {
	var n syscall.Signal
	fmt.Sscan(args[0], &n)
	syscall.Kill(os.Getpid(), n)
	select {}
}

func TestKilledBySignal(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		c := Command{Args: []string{os.Args[0], fmt.Sprint(int(s))}, Env: []string{role + "=die"}}
		if code, err := c.Run(t.Context()); code != 128+int(s) || err != nil {
			t.Errorf("%v: Run = %d, %v", s, code, err)
		}
	}
}

// stage is a parent that runs a program, both real.
type stage struct {
	t      *testing.T
	parent *exec.Cmd
	in     io.WriteCloser
	lines  chan string // what both print
	pid    int         // of the program
}

// enter starts a parent with the role of its program, on a terminal of its own
// or in a session without one.
func enter(t *testing.T, terminal bool, args ...string) *stage {
	t.Helper()
	s := &stage{t: t, lines: make(chan string, 64)}
	s.parent = exec.Command(os.Args[0], args...)
	s.parent.Env = append(os.Environ(), role+"=parent", "GORACE=atexit_sleep_ms=0")
	var out io.ReadCloser
	if terminal {
		f, err := pty.Start(s.parent) // which makes the parent the leader of a session
		if err != nil {
			t.Fatal(err)
		}
		s.in, out = f, f
	} else {
		s.parent.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		s.in, _ = s.parent.StdinPipe()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		s.parent.Stdout = w
		if err := s.parent.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		out = r
	}
	t.Cleanup(func() {
		syscall.Kill(-s.parent.Process.Pid, syscall.SIGKILL)
		s.parent.Wait()
		s.in.Close()
		out.Close()
		for range s.lines { // until the reader has seen the end
		}
	})
	go func() {
		defer close(s.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			s.lines <- strings.TrimSpace(in.Text())
		}
	}()
	if args[0] == "tell" {
		var ppid int
		if n, err := fmt.Sscanf(s.next("ready"), "ready %d %d", &s.pid, &ppid); n != 2 || ppid != s.parent.Process.Pid {
			t.Fatalf("the program has parent %d, want %d: %v", ppid, s.parent.Process.Pid, err)
		}
	}
	return s
}

// next returns the next line of the parent's or the program's. It must begin
// with want; the echo of a terminal does not count.
func (s *stage) next(want string) string {
	s.t.Helper()
	late := time.After(time.Minute)
	for {
		var l string
		var ok bool
		select {
		case l, ok = <-s.lines:
		case <-late:
			s.t.Fatalf("nothing said, want %q", want)
		}
		if !ok {
			s.t.Fatalf("the end, want %q", want)
		}
		l = strings.TrimLeft(l, "^C\\")
		if strings.Trim(l, "0123456789") == "" {
			continue
		}
		if !strings.HasPrefix(l, want) {
			s.t.Fatalf("got %q, want %q", l, want)
		}
		return l
	}
}

// say writes a line to the program, or bytes that a terminal makes something
// of.
func (s *stage) say(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.in, text); err != nil {
		s.t.Fatal(err)
	}
}

// leave has the program exit and checks that its code is the parent's, and that
// nothing else has been said since.
func (s *stage) leave() {
	s.t.Helper()
	s.say("7\n")
	s.next("parent: code 7")
	var exit *exec.ExitError
	if err := s.parent.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		s.t.Errorf("the parent ended with %v", err)
	}
}

// Keys of the terminal reach the program once each, and end nobody else.
func TestKeysReachTheProgramOnly(t *testing.T) {
	s := enter(t, true, "tell")
	for range 3 {
		s.say("\x03")
		s.next("got interrupt")
	}
	s.say("\x1c")
	s.next("got quit")
	s.leave()
}

// A signal for the parent alone is passed on once.
func TestSignalsForTheParentArePassedOn(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal %v", terminal), func(t *testing.T) {
			s := enter(t, terminal, "tell")
			for _, sig := range told {
				if terminal && (sig == syscall.SIGINT || sig == syscall.SIGQUIT) {
					continue // cannot be told from a key
				}
				if signal.Ignored(sig) {
					t.Logf("%v is ignored, as by nohup, and so it is by the program", sig)
					continue
				}
				s.parent.Process.Signal(sig)
				s.next("got " + sig.String())
			}
			s.leave()
		})
	}
}

// A signal that comes before the program is there, but after Run has said that
// it sees to them, is passed on too.
func TestSignalBeforeTheProgram(t *testing.T) {
	released := false
	c := Command{Args: []string{os.Args[0], syscall.SIGTERM.String()}, Env: []string{role + "=tell"}}
	c.Signals = func() func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		return func() { released = true }
	}
	if code, err := c.Run(t.Context()); code != 128+int(syscall.SIGTERM) || err != nil || !released {
		t.Errorf("Run = %d, %v, released %v", code, err, released)
	}
}

// A program that ignores a signal gets the next one as well.
func TestSignalsAreNotCounted(t *testing.T) {
	s := enter(t, false, "tell")
	for range 2 {
		s.parent.Process.Signal(syscall.SIGTERM)
		s.next("got terminated")
		time.Sleep(sameSignal) // what comes sooner is the same signal
	}
	s.leave()
}

func TestProgramEndedByAPassedSignal(t *testing.T) {
	s := enter(t, false, "tell", syscall.SIGTERM.String())
	s.parent.Process.Signal(syscall.SIGTERM)
	s.next("parent: code 143")
}

// Ctrl-Z stops both, and both go on.
func TestStopAndContinue(t *testing.T) {
	s := enter(t, false, "tell")
	pgid := s.parent.Process.Pid
	// A group that nobody can continue is not stopped by SIGTSTP, which is
	// therefore sent as SIGSTOP.
	syscall.Kill(-pgid, syscall.SIGSTOP)
	var st syscall.WaitStatus
	if _, err := syscall.Wait4(pgid, &st, syscall.WUNTRACED, nil); err != nil || !st.Stopped() {
		t.Fatalf("not stopped: %v %v", st, err)
	}
	s.say("hello\n")
	syscall.Kill(-pgid, syscall.SIGCONT)
	s.next("read hello")
	s.leave()
}

// What ends our context ends the program, by force if need be.
func TestCancel(t *testing.T) {
	reason := errors.New("the listener failed")
	for _, stubborn := range []bool{false, true} {
		t.Run(fmt.Sprintf("stubborn %v", stubborn), func(t *testing.T) {
			if stubborn && testing.Short() {
				t.Skip("waits for KillAfter")
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			c := Command{Args: []string{os.Args[0]}, Env: []string{role + "=tell"}, Stdout: w}
			want := 128 + int(syscall.SIGKILL)
			if !stubborn {
				c.Args, want = append(c.Args, syscall.SIGTERM.String()), 128+int(syscall.SIGTERM)
			}
			go func() {
				bufio.NewReader(r).ReadString('\n')
				cancel(reason)
			}()
			code, err := c.Run(ctx)
			w.Close()
			if code != want || !errors.Is(err, reason) {
				t.Errorf("Run = %d, %v, want %d", code, err, want)
			}
		})
	}
}
