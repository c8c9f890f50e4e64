package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// role makes this test binary one of the programs below, which are real
// processes with real signals.
const role = "CHILD_TEST_ROLE"

var roles = map[string]func(args []string) int{
	"parent": parent,
	"exit":   func(args []string) int { code, _ := strconv.Atoi(args[0]); return code },
	"tell":   tell,
	"env":    func(args []string) int { fmt.Println(os.Getenv(args[0])); return 0 },
	"die":    die,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(role); name != "" {
		os.Exit(roles[name](os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// parent runs a program the way a command does: parent ROLE ARGS.
func parent(args []string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := Command{Args: append([]string{os.Args[0]}, args[1:]...), Env: []string{role + "=" + args[0]}}
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	code, err := c.Run(ctx)
	if err != nil {
		fmt.Println("parent:", err)
	}
	fmt.Println("parent: code", code)
	return code
}

// tell prints the signals that it gets, until it reads a line with the exit
// code: tell [SIGNAL...] that are left to their default.
func tell(args []string) int {
	sigs := make(chan os.Signal, 16)
	signal.Notify(sigs, told...)
	for _, a := range args {
		for _, s := range told {
			if s.String() == a {
				signal.Reset(s)
			}
		}
	}
	lines := make(chan string)
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
		select {} // the end of the input is not the end of the program
	}()
	fmt.Println("ready", os.Getpid(), os.Getppid())
	for {
		select {
		case s := <-sigs:
			fmt.Println("got", s)
		case l := <-lines:
			if code, err := strconv.Atoi(strings.TrimSpace(l)); err == nil {
				return code
			}
			fmt.Println("read", l)
		}
	}
}

func TestExitCode(t *testing.T) {
	for _, want := range []int{0, 1, 3, 255} {
		c := Command{Args: []string{os.Args[0], strconv.Itoa(want)}, Env: []string{role + "=exit"}}
		if code, err := c.Run(t.Context()); code != want || err != nil {
			t.Errorf("Run = %d, %v, want %d", code, err, want)
		}
	}
}

func TestEnvIsAdded(t *testing.T) {
	t.Setenv("CHILD_TEST_OURS", "ours")
	t.Setenv("CHILD_TEST_BOTH", "ours")
	for name, want := range map[string]string{"CHILD_TEST_OURS": "ours", "CHILD_TEST_BOTH": "added"} {
		var out strings.Builder
		c := Command{Args: []string{os.Args[0], name}, Env: []string{role + "=env", "CHILD_TEST_BOTH=added"}, Stdout: &out}
		if code, err := c.Run(t.Context()); code != 0 || err != nil || out.String() != want+"\n" {
			t.Errorf("%s: Run = %d, %v, printed %q, want %q", name, code, err, out.String(), want)
		}
	}
}

func TestNotFound(t *testing.T) {
	for _, name := range []string{"tshx-no-such-program", "/nonexistent/program"} {
		var missing *NotFoundError
		_, err := Command{Args: []string{name}}.Run(t.Context())
		if !errors.As(err, &missing) || missing.Program != name {
			t.Errorf("%s: Run = %v", name, err)
		}
	}
	if _, err := (Command{Args: []string{t.TempDir()}}).Run(t.Context()); err == nil || errors.As(err, new(*NotFoundError)) {
		t.Errorf("a directory: Run = %v", err)
	}
}

func TestEndedContextStartsNothing(t *testing.T) {
	reason := errors.New("reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	var out strings.Builder
	c := Command{Args: []string{os.Args[0], role}, Env: []string{role + "=env"}, Stdout: &out}
	if _, err := c.Run(ctx); !errors.Is(err, reason) || out.String() != "" {
		t.Errorf("Run = %v, printed %q", err, out.String())
	}
}
