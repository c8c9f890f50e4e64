package main

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// exitCodeCmd runs a program and demands its exit code: exitcode 2 tshx --bad.
func exitCodeCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// oneLineCmd demands that the last program wrote exactly one line to standard
// error, and nothing to standard output.
func oneLineCmd(ts *testscript.TestScript, neg bool, args []string) {
	stderr, stdout := ts.ReadFile("stderr"), ts.ReadFile("stdout")
	if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "tshx: ") {
		ts.Fatalf("standard error is not one line of tshx's:\n%s", stderr)
	}
	if stdout != "" {
		ts.Fatalf("standard output is not empty:\n%s", stdout)
	}
}
