package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"tshx/internal/dbproxy"
	"tshx/internal/lab"
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

// labCmd starts a lab for the rest of the script and writes its login:
// lab HOME [expired] [upgrade] [many] [engines] [web] [clouds] [aws] [accounts]. With upgrade it says that the
// proxy takes one. With many, there are more databases, whose servers do not run,
// with engines one for each engine, named by its protocol, and one with a long
// name, and with web one that speaks HTTP. With clouds there are apps of Azure and
// Google Cloud, with aws one of AWS, and with accounts another one.
func labCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: lab HOME [expired] [upgrade] [many] [engines] [web] [clouds] [aws] [accounts]")
	}
	c := lab.Demo()
	if slices.Contains(args[1:], "web") {
		web := httptest.NewServer(http.NotFoundHandler())
		ts.Defer(web.Close)
		c.Databases = append(c.Databases, lab.Database{Name: "search", Protocol: "elasticsearch", Addr: web.Listener.Addr().String(), User: "bob"})
	}
	if slices.Contains(args[1:], "clouds") {
		c.Apps = append(c.Apps,
			lab.App{Name: "azure-dev", URI: "http://127.0.0.1:1", AzureIdentity: "/subscriptions/1/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/dev"},
			lab.App{Name: "gcp-dev", URI: "http://127.0.0.1:1", GCPServiceAccount: "robot@project-1.iam.gserviceaccount.com"})
	}
	for name, app := range map[string]string{"aws": "dev", "accounts": "prod"} {
		if slices.Contains(args[1:], name) {
			c.Apps = append(c.Apps, lab.App{Name: app, AWS: &lab.AWS{AccessKeyID: "AKIA", SecretAccessKey: "s3cret"}, AWSRole: "arn:aws:iam::1:role/" + app})
		}
	}
	if slices.Contains(args[1:], "many") {
		c.Databases = append(c.Databases,
			lab.Database{Name: "pg", Protocol: "postgres", Addr: "127.0.0.1:1", User: "bob", Database: "orders"},
			lab.Database{Name: "open", Protocol: "postgres", Addr: "127.0.0.1:1"},
			lab.Database{Name: "my", Protocol: "mysql", Addr: "127.0.0.1:1", User: "bob", Database: "shop"})
	}
	if slices.Contains(args[1:], "engines") {
		for _, protocol := range dbproxy.Protocols() {
			c.Databases = append(c.Databases, lab.Database{Name: protocol, Protocol: protocol, Addr: "127.0.0.1:1", User: "bob", Database: "d"})
		}
		c.Databases = append(c.Databases, lab.Database{Name: strings.Repeat("long", 50), Protocol: "redis", Addr: "127.0.0.1:1"})
	}
	l, err := lab.Start(context.Background(), c)
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	o := lab.HomeOptions{}
	if slices.Contains(args[1:], "expired") {
		o.TTL = -time.Hour
	}
	if slices.Contains(args[1:], "upgrade") {
		o.UpgradeRequired = new(bool)
		*o.UpgradeRequired = true
	}
	home := ts.MkAbs(args[0])
	ts.Check(l.WriteHome(home, l.Addr, o))
	ts.Check(l.WriteIdentityFile(ts.MkAbs("identity"), o))
	ca := ts.MkAbs("web-ca.pem")
	ts.Check(os.WriteFile(ca, l.Authority.Web.PEM(), 0o600))
	ts.Setenv("TELEPORT_HOME", home)
	ts.Setenv("TSHX_CA_FILE", ca)
	ts.Setenv("PROXY", l.Addr)
}

// listenCmd runs a program that listens until it has printed an address,
// connects to it, interrupts it, and demands a clean end. Its output goes to a
// file: listen FILE program args...
func listenCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: listen FILE program args...")
	}
	cmd := labProgram(ts, args[1:])
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	defer cmd.Process.Kill()
	r := bufio.NewReader(out)
	var text strings.Builder
	for addr := ""; addr == ""; {
		line, err := r.ReadString('\n')
		text.WriteString(line)
		ts.Check(err)
		if addr = announced(line); addr == "" {
			continue
		}
		c, err := net.Dial("tcp", addr)
		ts.Check(err)
		c.Close()
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(r)
	ts.Check(err)
	ts.Check(cmd.Wait())
	text.Write(rest)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text.String()), 0o600))
}

// interruptCmd runs a program, interrupts it once it has printed a line that
// matches, and demands its exit code: interrupt 130 '^ping 1' program args...
func interruptCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: interrupt N pattern program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	cmd := labProgram(ts, args[2:])
	var talk strings.Builder
	cmd.Stderr = &talk
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	defer cmd.Process.Kill()
	var text strings.Builder
	lines := bufio.NewScanner(out)
	for sent := false; lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if !sent && pattern.MatchString(lines.Text()) {
			ts.Check(cmd.Process.Signal(os.Interrupt))
			sent = true
		}
	}
	cmd.Wait() // the exit code says it
	io.WriteString(ts.Stdout(), text.String())
	io.WriteString(ts.Stderr(), talk.String())
	if got := cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// labProgram is one that is run in the script's directory and environment.
func labProgram(ts *testscript.TestScript, args []string) *exec.Cmd {
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, k := range []string{"HOME", "XDG_CACHE_HOME", "USER", "PATH", "TELEPORT_HOME", "TSHX_CA_FILE", "TSHX_PORT_RANGE", "TMPDIR", "AWS_CONFIG_FILE", "AWS_PROFILE", "TELEPORT_AWS_ACCESS_KEY_ID", "TELEPORT_AWS_SECRET_ACCESS_KEY"} {
		cmd.Env = append(cmd.Env, k+"="+ts.Getenv(k))
	}
	return cmd
}

// announced returns the address in a line of an announcement, or nothing.
func announced(line string) string {
	if _, addr, ok := strings.Cut(strings.TrimSpace(line), "address: "); ok {
		return addr
	}
	var a announcement
	if json.Unmarshal([]byte(line), &a) != nil {
		return ""
	}
	return a.Address
}
