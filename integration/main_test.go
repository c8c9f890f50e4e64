//go:build linux

// Package integration runs the built tshx against real clients and real
// servers: OpenSSH, PostgreSQL, MariaDB, Redis, Kubernetes, and nginx, HAProxy and
// Squid in between. The cluster behind them is the lab (package internal/lab).
//
// Servers are started when a test first needs them, live as long as the test
// binary, and end with it however it ends. A program that is not installed
// skips the tests that need it, by name; with CI set it fails them.
package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tshx/integration/peer"
)

// tshxPath is the program under test, built by TestMain, or TSHX_BIN.
var tshxPath string

func TestMain(m *testing.M) {
	dir, err := build()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	closeAll()
	os.RemoveAll(dir)
	if !eventually(moment, func() bool { return len(marked(runMark)) == 0 }) {
		fmt.Fprintf(os.Stderr, "left running: %s\n", describe(marked(runMark)))
		code = 1
	}
	os.Exit(code)
}

// build builds tshx and returns the directory of the program, empty for one that
// was there.
func build() (dir string, err error) {
	if tshxPath = os.Getenv("TSHX_BIN"); tshxPath != "" {
		tshxPath, err = filepath.Abs(tshxPath)
		return "", err
	}
	if dir, err = os.MkdirTemp("", "tshx-integration-"); err != nil {
		return "", err
	}
	tshxPath = filepath.Join(dir, "tshx")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", tshxPath, "tshx/cmd/tshx")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("build tshx: %w\n%s", err, out)
	}
	return dir, nil
}

// closers end what was started for the whole run, last started first.
var closers struct {
	sync.Mutex
	list []func()
}

func atExit(f func()) {
	closers.Lock()
	defer closers.Unlock()
	closers.list = append(closers.list, f)
}

func closeAll() {
	closers.Lock()
	defer closers.Unlock()
	for _, f := range slices.Backward(closers.list) {
		f()
	}
	closers.list = nil
}

// shared is something that the first test to ask for it starts and that all
// tests use then.
type shared[T any] struct {
	once  sync.Once
	start func() (T, error)
	value T
	err   error
}

func share[T any](start func() (T, error)) *shared[T] { return &shared[T]{start: start} }

// load returns the shared thing and starts it where it is not yet.
func (s *shared[T]) load() (T, error) {
	s.once.Do(func() { s.value, s.err = s.start() })
	return s.value, s.err
}

// get is load for a test. A program that is missing skips the test, or fails
// it on CI.
func (s *shared[T]) get(t testing.TB) T {
	t.Helper()
	v, err := s.load()
	check(t, err)
	return v
}

// need skips the test, or fails it on CI, where a program is not installed.
func need(t testing.TB, programs ...string) {
	t.Helper()
	check(t, peer.FindAll(programs...))
}

func check(t testing.TB, err error) {
	t.Helper()
	var missing *peer.MissingError
	switch {
	case err == nil:
	case errors.As(err, &missing) && os.Getenv("CI") == "":
		t.Skip(missing)
	default:
		t.Fatal(err)
	}
}

// lines splits text into its lines without the empty ones.
func lines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
}
