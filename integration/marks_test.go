//go:build linux

package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Programs inherit their environment, so a variable with a value of its own
// finds everything that a test has started, however deep and whoever has
// adopted it since.
const markVariable = "TSHX_TEST_MARK"

// runMark is part of every mark of this run.
var runMark = fmt.Sprintf("run%d.", os.Getpid())

// markOf returns the mark of the processes of a test; that of a subtest begins
// with it.
func markOf(t testing.TB) string { return runMark + t.Name() + "/" }

// marked returns the processes whose mark begins with the given one. Ended
// ones that nobody has waited for yet do not count.
func marked(mark string) []int {
	var pids []int
	found, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range found {
		env, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(append([]byte{0}, env...), []byte("\x00"+markVariable+"="+mark)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// describe lists processes with their command lines.
func describe(pids []int) string {
	var out []string
	for _, pid := range pids {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		out = append(out, fmt.Sprintf("%d %s", pid, bytes.ReplaceAll(bytes.TrimRight(line, "\x00"), []byte{0}, []byte{' '})))
	}
	return strings.Join(out, "; ")
}

// moment is how long ended processes may take to go, on a busy machine.
const moment = 10 * time.Second

// nothingLeft fails the test if at its end, when its programs have been ended,
// a process is still there that they have started.
func nothingLeft(t testing.TB) {
	t.Helper()
	t.Cleanup(func() { noneLeft(t) })
}

// noneLeft fails the test if a process that it has started is still there
// after a moment in which the ended ones go.
func noneLeft(t testing.TB) {
	t.Helper()
	var pids []int
	if !eventually(moment, func() bool { pids = marked(markOf(t)); return len(pids) == 0 }) {
		t.Errorf("still running after %v: %s", moment, describe(pids))
	}
}

// eventually looks at cond until it holds, at most for the given time. It is
// for what happens in other processes, which give no other sign.
func eventually(within time.Duration, cond func() bool) bool {
	deadline := time.Now().Add(within)
	for !cond() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	return true
}
