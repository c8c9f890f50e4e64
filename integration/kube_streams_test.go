//go:build linux

package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// kubeExec: standard input and its end, standard output, standard error and the
// exit code, each on its own.
func kubeExec(t *testing.T, s kubeSession) {
	const size = 1 << 20
	o := s.options(t)
	o.input = string(noise(size))
	p := s.startWith(t, o, "exec", "-i", kubernetes.get(t).Pod, "--", "sh", "-c", "cat; echo oops >&2; exit 3")
	if code := p.wait(); code != 3 {
		t.Errorf("exit code %d", code)
	}
	same(t, []byte(p.stdout.String()), []byte(o.input))
	if said := p.stderr.String(); !strings.HasPrefix(said, "oops\n") || strings.Count(said, "\n") != 2 { // kubectl adds a line
		t.Errorf("said %q", said)
	}
}

// kubeExecFailure: a command that is not there is told as the node tells it.
func kubeExecFailure(t *testing.T, s kubeSession) {
	p := s.start(t, "exec", kubernetes.get(t).Pod, "--", "/nosuch/program")
	if code := p.wait(); code == 0 || !strings.Contains(p.stderr.String(), "/nosuch/program: no such file") {
		t.Errorf("exit code %d, said %q", code, p.stderr.String())
	}
}

// resizeScript is what resized wants to have run on a terminal of 31 rows and 97
// columns.
const resizeScript = `size() { until [ "$(stty size)" = "$1" ]; do sleep 0.05; done; echo "size is $1"; }
	size "31 97"; size "40 120"; trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done`

// resized changes the size of the terminal and presses Ctrl-C.
func resized(t testing.TB, term *terminal) {
	t.Helper()
	term.types("", "size is 31 97", 1)
	check(t, pty.Setsize(term.keys, &pty.Winsize{Rows: 40, Cols: 120}))
	term.types("", "size is 40 120", 1)
	term.types("", "ready", 1)
	io.WriteString(term.keys, "\x03")
	if code := term.wait(); code != 5 {
		t.Errorf("exit code %d", code)
	}
	if !eventually(patience, func() bool { return strings.Contains(term.screen.String(), "interrupted") }) {
		t.Error("the command was not interrupted")
	}
}

// kubeTerminal: keys, what they do and the size of the terminal, also one that
// changes.
func kubeTerminal(t *testing.T, s kubeSession) {
	tr := *s.transport
	tr.env = s.options(t).env // after those of the transport
	resized(t, startOnTerminal(t, &tr, "sh", "-c", `stty rows 31 cols 97; exec "$@"`, "sh",
		kubernetes.get(t).Kubectl, "exec", "-it", kubernetes.get(t).Pod, "--", "sh", "-c", resizeScript))
}

// kubeLogs: what is there and what is added. Others write to the same log.
func kubeLogs(t *testing.T, s kubeSession) {
	k := kubernetes.get(t)
	log, err := os.OpenFile(k.Log, os.O_APPEND|os.O_WRONLY, 0)
	check(t, err)
	defer log.Close()
	fmt.Fprintf(log, "%s one\n", t.Name())
	p := s.start(t, "logs", "--follow", k.Pod)
	p.sees(t.Name() + " one")
	for _, word := range []string{"two", "three"} {
		fmt.Fprintf(log, "%s %s\n", t.Name(), word)
		p.sees(t.Name() + " " + word)
	}
	if p.ended() {
		t.Errorf("the log has ended: %s", p.stderr.String())
	}
}

// kubeAttach: the pod's process repeats what it reads, to all who are attached.
func kubeAttach(t *testing.T, s kubeSession) {
	in, keys := pipe(t)
	o := s.options(t)
	o.stdin = in
	p := s.startWith(t, o, "attach", "--stdin", kubernetes.get(t).Pod)
	for _, word := range []string{"one", "two"} {
		fmt.Fprintf(keys, "%s %s\n", t.Name(), word)
		p.sees(t.Name() + " " + word)
	}
}

// kubeForward: many bytes both ways at once over several connections, and the
// client's end of each is one that the server sees.
func kubeForward(t *testing.T, s kubeSession) {
	const conns, size = 3, 4 << 20
	_, port, _ := net.SplitHostPort(services["bulk"].get(t).addr)
	p := s.start(t, "port-forward", kubernetes.get(t).Pod, ":"+port)
	addr, _, _ := strings.Cut(p.lineAfter("Forwarding from "), " ")
	errs := make(chan error)
	for range conns {
		c := dial(t, addr)
		go func() { errs <- bulk(c, size, size) }()
	}
	for range conns {
		check(t, <-errs)
	}
	if p.ended() {
		t.Errorf("port-forward has ended: %s", p.stderr.String())
	}
}

// kubeCopies copies a file of some size to the pod and back, and compares
// checksums.
func kubeCopies(t *testing.T, s kubeSession, size int64) {
	k := kubernetes.get(t)
	dir := t.TempDir()
	name := objectName(t)
	there, arrived, back := filepath.Join(dir, "there"), filepath.Join(k.Root, name), filepath.Join(dir, "back")
	f, err := os.Create(there)
	check(t, err)
	sum, err := sendNoise(f, size)
	check(t, err)
	check(t, f.Close())
	want := hex.EncodeToString(sum.Sum(nil))
	t.Cleanup(func() { os.Remove(arrived) })
	for _, step := range []struct{ from, to, result string }{
		{there, k.Pod + ":" + name, arrived},
		{k.Pod + ":" + name, back, back},
	} {
		s.run(t, "cp", step.from, step.to)
		if got, n := checksum(t, step.result); got != want {
			t.Errorf("cp %s %s: %d bytes, %d expected, and another checksum", step.from, step.to, n, size)
		}
	}
}

// checksum returns the SHA-256 and the size of a file.
func checksum(t testing.TB, path string) (sum string, size int64) {
	t.Helper()
	f, err := os.Open(path)
	check(t, err)
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	check(t, err)
	return hex.EncodeToString(h.Sum(nil)), size
}
