//go:build linux

package integration

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tshx/integration/peer"
)

// patience bounds every wait for another process. It is long because nothing
// waits for it unless something is broken.
const patience = 60 * time.Second

// program is a running process of a test.
type program struct {
	t      testing.TB
	cmd    *exec.Cmd
	name   string
	stdout output
	stderr output
	done   chan struct{}
}

// options change how a program is run.
type options struct {
	env    []string // besides the basic environment
	input  string   // on standard input
	stdin  *os.File // instead of input
	stdout *os.File // instead of program.stdout
}

// launch starts a program. It ends with the test at the latest.
func launch(t testing.TB, o options, argv ...string) *program {
	t.Helper()
	p := &program{t: t, name: argv[0], done: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(basicEnv(t), o.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if o.stdout != nil {
		p.cmd.Stdout = o.stdout
	}
	if o.stdin != nil {
		p.cmd.Stdin = o.stdin
	} else if o.input != "" {
		p.cmd.Stdin = strings.NewReader(o.input)
	}
	// Something that kept the output open would show in noneLeft. What the program
	// has said last must get here first, however busy the machine is.
	p.cmd.WaitDelay = 5 * time.Second
	if err := peer.Spawn(p.cmd); err != nil {
		t.Fatalf("start %s: %v", argv[0], err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%s\nstdout: %s\nstderr: %s", strings.Join(argv, " "), clip(p.stdout.String()), clip(p.stderr.String()))
		}
	})
	return p
}

// basicEnv is the whole environment of a program: nothing of the user's own
// settings gets in.
func basicEnv(t testing.TB) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LANG=C", "TMPDIR=" + os.TempDir(), "HOME=/nonexistent",
		"TSHX_PORT_RANGE=off", // tests run side by side
		markVariable + "=" + markOf(t)}
}

// wait returns the exit code, -1 after a signal.
func (p *program) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.cmd.Process.Signal(syscall.SIGABRT) // a Go program says where it hangs
		<-p.done
		p.t.Errorf("%s did not end within %v", p.name, patience)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *program) signal(s syscall.Signal) { p.cmd.Process.Signal(s) }

func (p *program) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// drained ends a listening tshx the way people do and checks that it went well.
func (p *program) drained() {
	p.t.Helper()
	if p.ended() {
		return // the test has seen to it
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		p.t.Errorf("%s: exit code %d after SIGTERM, want 0", p.name, code)
	}
	for _, l := range says(p) {
		p.t.Errorf("%s complained: %s", p.name, l)
	}
}

// says returns what a program has said on standard error but for the drain, in
// which a client that has just left may still count, and for waits.
func says(p *program) []string {
	var said []string
	for _, l := range lines(withoutWaits(p.stderr.String())) {
		if !strings.Contains(l, "draining ") {
			said = append(said, l)
		}
	}
	return said
}

// waiting is what is said while a wait lasts, as on a busy machine, which is no
// mistake.
var waiting = regexp.MustCompile(`(?m)^tshx: waiting for the proxy .*: no answer for \S+ yet\n`)

func withoutWaits(said string) string { return waiting.ReplaceAllString(said, "") }

// lineAfter waits for a line on standard output that begins with prefix and
// returns the rest of it.
func (p *program) lineAfter(prefix string) string {
	p.t.Helper()
	var rest string
	find := func() bool {
		for _, l := range strings.SplitAfter(p.stdout.String(), "\n") {
			var ok bool
			if rest, ok = strings.CutPrefix(strings.TrimSpace(l), prefix); ok && strings.HasSuffix(l, "\n") {
				rest = strings.TrimSpace(rest)
				return true
			}
		}
		return p.ended()
	}
	if !eventually(patience, find) || rest == "" {
		p.t.Fatalf("%s printed no line %q: %s%s", p.name, prefix, p.stdout.String(), p.stderr.String())
	}
	return rest
}

// await waits until the program has written something on standard error that
// contains text.
func (p *program) await(text string) {
	p.t.Helper()
	if !eventually(patience, func() bool { return strings.Contains(p.stderr.String(), text) || p.ended() }) || p.ended() {
		p.t.Fatalf("%s did not say %q", p.name, text)
	}
}

// pipe returns both ends of a pipe that the test closes.
func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// execute runs a program to its end and returns its standard output. It must
// succeed.
func execute(t testing.TB, o options, argv ...string) string {
	t.Helper()
	p := launch(t, o, argv...)
	if code := p.wait(); code != 0 {
		t.Fatalf("%s: exit code %d: %s", argv[0], code, clip(p.stderr.String()))
	}
	return p.stdout.String()
}

// output collects what a process writes while others look at it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// clip shortens text for a failure message.
func clip(s string) string {
	const most = 4000
	if len(s) > most {
		return s[:most/2] + "\n...\n" + s[len(s)-most/2:]
	}
	return s
}
