package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"tshx/internal/balancer"
	"tshx/internal/lab"
	"tshx/internal/profile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// firstLine passes on the first line that is written to it.
type firstLine struct {
	line chan string
	buf  bytes.Buffer
}

func (w *firstLine) Write(p []byte) (int, error) {
	w.buf.Write(p)
	if s, _, ok := strings.Cut(w.buf.String(), "\n"); ok {
		select {
		case w.line <- s:
		default:
		}
	}
	return len(p), nil
}

// up runs "tshx-lab up" until the test's end and returns the ready line's
// fields.
func up(t *testing.T, args ...string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := &firstLine{line: make(chan string, 1)}
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() { code <- run(ctx, &Env{Stdout: out, Stderr: &stderr}, append([]string{"up"}, args...)) }()
	end := func() {
		cancel()
		if c := <-code; c != exitOK || stderr.Len() > 0 {
			t.Errorf("exit code %d, stderr %q", c, &stderr)
		}
		if got := strings.Count(out.buf.String(), "\n"); got != 1 {
			t.Errorf("%d lines on stdout: %q", got, &out.buf)
		}
	}
	select {
	case line := <-out.line:
		t.Cleanup(end)
		words := strings.Fields(line)
		if words[0] != "ready:" {
			t.Fatalf("line %q", line)
		}
		fields := map[string]string{}
		for _, w := range words[1:] {
			k, v, _ := strings.Cut(w, "=")
			fields[k] = v
		}
		return fields
	case c := <-code:
		cancel()
		t.Fatalf("ended with %d: %s", c, &stderr)
		return nil
	}
}

func TestUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a lab")
	fields := up(t, "--dir", dir, "--layout", "v14", "--balancer")
	for _, x := range []struct{ env, home, addr string }{{"env", "home", "address"}, {"balancer-env", "home-balancer", "balancer"}} {
		c, err := net.Dial("tcp", fields[x.addr])
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		sh, err := exec.LookPath("sh")
		if err != nil {
			t.Skip("no shell to read the env file")
		}
		env := filepath.Join(dir, map[string]string{"env": "env", "balancer-env": "env-balancer"}[x.env])
		out, err := exec.Command(sh, "-c", `. "$0"; printf '%s\n%s\n%s' "$TELEPORT_HOME" "$TSHX_CA_FILE" "$KUBECONFIG"`, env).Output()
		if err != nil {
			t.Fatal(err)
		}
		vars := strings.Split(string(out), "\n")
		home, ca := vars[0], vars[1]
		if home != filepath.Join(dir, x.home) || ca != filepath.Join(dir, "ca.pem") || vars[2] != filepath.Join(home, "kubeconfig") {
			t.Errorf("variables %q", vars)
		}
		p, err := profile.Load(profile.Options{Dir: home, Now: time.Now})
		if err != nil || p.WebAddr != fields[x.addr] {
			t.Errorf("profile %+v, %v", p, err)
		}
		if _, err := os.Stat(ca); err != nil {
			t.Error(err)
		}
	}
}

func TestUpRemovesTemporaryDirectory(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Run("up", func(t *testing.T) {
		if fields := up(t); !strings.HasPrefix(fields["env"], tmp) {
			t.Errorf("fields %v", fields)
		}
	})
	if left, err := filepath.Glob(filepath.Join(tmp, "tshx-lab-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestUpWithConfig(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "lab.yaml")
	text := "cluster: c.example.com\nnodes:\n  - {name: far, addr: \"127.0.0.1:22\"}\n  - {name: near}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	up(t, "--config", config, "--dir", dir)
	for _, f := range []string{"ssh_host_key", "ssh_host_key-cert.pub", "user_ca.pub", "sshd_config.part"} {
		if _, err := os.Stat(filepath.Join(dir, "nodes", "far", f)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "nodes", "near")); err == nil {
		t.Error("files for a built-in node")
	}
}

func TestBalancerFlags(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags balancerFlags
		want  *lab.Balancer
		trust bool
		err   string
	}{
		{name: "none"},
		{name: "plain", flags: balancerFlags{Balancer: true}, want: &lab.Balancer{}},
		{name: "implied", flags: balancerFlags{Idle: time.Second}, want: &lab.Balancer{Idle: time.Second}},
		{name: "address", flags: balancerFlags{Address: "127.0.0.1:1"}, want: &lab.Balancer{Listen: "127.0.0.1:1"}},
		{name: "layer 4", flags: balancerFlags{L4: true, UnaskedALPN: true}, want: &lab.Balancer{L4: true, ALPN: balancer.ALPNUnasked}},
		{name: "alert", flags: balancerFlags{AlertALPN: true}, want: &lab.Balancer{ALPN: balancer.ALPNAlert}},
		{name: "websocket only", flags: balancerFlags{WebSocketOnly: true}, want: &lab.Balancer{Upgrades: balancer.UpgradesWebSocket}},
		{name: "refuse custom", flags: balancerFlags{Refuse: 403}, want: &lab.Balancer{Upgrades: balancer.UpgradesWebSocket, Refuse: 403}},
		{name: "refuse all", flags: balancerFlags{Refuse: 400, DropUpgrade: true}, want: &lab.Balancer{Upgrades: balancer.UpgradesNone, Refuse: 400}},
		{name: "drop", flags: balancerFlags{DropUpgrade: true}, want: &lab.Balancer{Upgrades: balancer.UpgradesNone}},
		{name: "two addresses", flags: balancerFlags{TwoForwarded: true}, want: &lab.Balancer{TwoForwardedFor: true}, trust: true},
		{name: "both alpn", flags: balancerFlags{UnaskedALPN: true, AlertALPN: true}, err: "exclude each other"},
		{name: "status", flags: balancerFlags{Refuse: 200}, err: "400 to 599"},
		{name: "idle", flags: balancerFlags{Idle: -1}, err: "negative"},
		{name: "layer 4 is blind", flags: balancerFlags{L4: true, Refuse: 403}, err: "sees no requests"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var cfg lab.Config
			err := tt.flags.apply(&cfg)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, cfg.Balancer); diff != "" || cfg.TrustForwardedFor != tt.trust {
				t.Errorf("trust %v\n%s", cfg.TrustForwardedFor, diff)
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("nodse: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown command", []string{"down"}, exitUsage, "unexpected argument down"},
		{"unknown flag", []string{"up", "--balancr"}, exitUsage, "unknown flag --balancr"},
		{"bad proxy protocol", []string{"up", "--proxy-protocol", "v2"}, exitUsage, `--proxy-protocol "v2": use on or off`},
		{"bad release", []string{"up", "--behave", "v9"}, exitUsage, `--behave "v9": use v14 or v17`},
		{"bad layout", []string{"up", "--layout", "v9"}, exitUsage, `--layout "v9": use v14 or v17`},
		{"bad duration", []string{"up", "--ttl", "soon"}, exitUsage, "--ttl"},
		{"bad status", []string{"up", "--balancer-refuse", "200"}, exitUsage, "400 to 599"},
		{"no such config", []string{"up", "--config", filepath.Join(dir, "none")}, exitFailure, "no such file"},
		{"bad config", []string{"up", "--config", file}, exitFailure, `line 1: unknown key "nodse"`},
		{"dir is a file", []string{"up", "--dir", file}, exitFailure, "is not a directory"},
		{"port taken", []string{"up", "--listen", ln.Addr().String()}, exitFailure, "already in use"},
		{"not loopback", []string{"up", "--listen", "0.0.0.0:0"}, exitFailure, "not on loopback"},
		{"no tshx", []string{"demo", "--tshx", filepath.Join(dir, "none")}, exitUsage, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), &Env{Stdout: &stdout, Stderr: &stderr}, tt.args)
			if code != tt.code || stdout.Len() > 0 || !strings.Contains(stderr.String(), tt.want) || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("code %d, stdout %q, stderr %q; want %d and one line with %q", code, &stdout, &stderr, tt.code, tt.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"up", "--help"}, {"demo", "--help"}} {
		var stdout bytes.Buffer
		if code := run(t.Context(), &Env{Stdout: &stdout, Stderr: io.Discard}, args); code != exitOK || !strings.Contains(stdout.String(), "Usage: tshx-lab") {
			t.Errorf("%v: code %d, %q", args, code, &stdout)
		}
	}
}

// build makes the real tshx.
func build(t *testing.T) string {
	t.Helper()
	tshx := filepath.Join(t.TempDir(), "tshx")
	if out, err := exec.Command("go", "build", "-o", tshx, "tshx/cmd/tshx").CombinedOutput(); err != nil {
		t.Fatalf("build tshx: %v\n%s", err, out)
	}
	return tshx
}

// The demonstration runs the real tshx, with the clients that are there.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds tshx")
	}
	tshx := build(t)
	steps := func() int {
		t.Helper()
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), &Env{Stdout: &stdout, Stderr: &stderr}, []string{"demo", "--tshx", tshx})
		if code != exitOK || stderr.Len() > 0 {
			t.Errorf("code %d, stderr %q", code, &stderr)
		}
		ends := regexp.MustCompile(`All (\d+) steps worked, in`).FindStringSubmatch(stdout.String())
		if ends == nil || strings.Contains(stdout.String(), "FAILED") {
			t.Fatalf("output:\n%s", &stdout)
		}
		for _, want := range []string{
			" takes us for \"alice\"\n",            // kube
			" says " + awsARN + "\n",               // aws
			`: the node says "hello from process `, // ssh
			"by a tunnel that the agent made\n",
			"twice on one connection, and WebSocket\n",
		} {
			if got := strings.Count(stdout.String(), want); got != 2 {
				t.Errorf("%q is there %d times:\n%s", want, got, &stdout)
			}
		}
		if !strings.Contains(stdout.String(), "tshx uses: raw\n") || !strings.Contains(stdout.String(), "tshx uses: websocket\n") {
			t.Errorf("the ways to the proxy:\n%s", &stdout)
		}
		n, _ := strconv.Atoi(ends[1])
		return n
	}
	installed := 0
	for client, n := range map[string]int{"ssh": 2, "scp": 1, "redis-cli": 1, "kubectl": 1} {
		if _, err := exec.LookPath(client); err == nil {
			installed += n
		}
	}
	const builtin = 8
	if got, want := steps(), 2*(builtin+installed); got != want {
		t.Errorf("%d steps, want %d", got, want)
	}
	t.Setenv("PATH", "")
	if got := steps(); got != 2*builtin {
		t.Errorf("%d steps without any client, want %d", got, 2*builtin)
	}
}

// cancelAt is an output that ends a context at a word.
type cancelAt struct {
	bytes.Buffer
	word   string
	cancel context.CancelFunc
}

func (c *cancelAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), c.word) {
		c.cancel()
	}
	return c.Buffer.Write(p)
}

// failing is a program that does nothing and fails. There is one on every Unix.
func failing(t *testing.T) string {
	t.Helper()
	no, err := exec.LookPath("false")
	if err != nil {
		t.Skip("needs a program that fails")
	}
	return no
}

// Who interrupts the demonstration does not hear of all that has not been shown.
func TestDemoInterrupted(t *testing.T) {
	no := failing(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, stderr := &cancelAt{word: "Directly", cancel: cancel}, new(bytes.Buffer)
	code := run(ctx, &Env{Stdout: stdout, Stderr: stderr}, []string{"demo", "--tshx", no})
	if code != exitFailure || strings.Contains(stdout.String(), "FAILED") || strings.Contains(stdout.String(), "Through a balancer") || stderr.String() != "tshx-lab: interrupted\n" {
		t.Errorf("code %d, %s:\n%s", code, stderr, stdout)
	}
}

// A tshx that does nothing makes every step fail, with a reason each.
func TestDemoFails(t *testing.T) {
	no := failing(t)
	var stdout bytes.Buffer
	code := run(t.Context(), &Env{Stdout: &stdout, Stderr: io.Discard}, []string{"demo", "--tshx", no})
	failed := regexp.MustCompile(`(\d+) of (\d+) steps failed`).FindStringSubmatch(stdout.String())
	if code != exitFailure || strings.Contains(stdout.String(), "worked") || failed == nil || failed[1] != failed[2] ||
		strings.Count(stdout.String(), "FAILED") == 0 {
		t.Errorf("code %d:\n%s", code, &stdout)
	}
}
