//go:build unix

package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tshx/internal/lab"
	"tshx/internal/profile"
)

// Who interrupts the test of the way to a proxy that says nothing has interrupted
// kubectl.
func TestKubectlInterrupted(t *testing.T) {
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, port, _ := net.SplitHostPort(silent.Addr().String())
	path := profile.ConfigPath(k.home, "localhost")
	k.write(path, strings.ReplaceAll(k.read(path), k.lab.Addr, "localhost:"+port))
	k.must("kube", "login", "demo")

	tshx := withKubectl(t, "echo kubectl ran")
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), tshx, "kubectl", "get", "pods")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() // the exit code says it
		silent.Close()
	}()
	c, err := silent.Accept() // the test is under way
	if err != nil {
		t.Fatalf("it has ended: %s", &out)
	}
	defer c.Close()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	<-ended
	if code := cmd.ProcessState.ExitCode(); code != 130 || out.Len() > 0 {
		t.Errorf("exit code %d, %s", code, &out)
	}
}

// withKubectl puts a script called kubectl into PATH, and returns the path of this
// program as tshx.
func withKubectl(t *testing.T, script string) (tshx string) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable() // which is tshx by that name only
	if err != nil {
		t.Fatal(err)
	}
	tshx = filepath.Join(dir, "tshx")
	if err := os.Symlink(self, tshx); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return tshx
}

// A shell ends its loop only for a program that SIGINT has ended, as it has
// kubectl.
func TestKubectlEndsBySIGINT(t *testing.T) {
	yes := true
	k := newKubeLab(t, lab.HomeOptions{UpgradeRequired: &yes}, "", "demo")
	k.must("kube", "login", "demo")
	tshx := withKubectl(t, "[ $1 = sigint ] && kill -INT $$; exit 130")
	for verb, want := range map[string]string{"sigint": "signal: interrupt", "exit": "exit status 130"} {
		out, err := exec.CommandContext(t.Context(), tshx, "kubectl", verb).CombinedOutput()
		if err == nil || err.Error() != want || len(out) > 0 {
			t.Errorf("%s: %v %s", verb, err, out)
		}
	}
}

// A balancer that has come in between is found out, though the proxy was reached
// directly before.
func TestKubectlTestsAgain(t *testing.T) {
	no := false
	k := newKubeLab(t, lab.HomeOptions{}, "", "demo")
	if err := k.lab.WriteHome(k.home, k.lab.BalancerAddr, lab.HomeOptions{UpgradeRequired: &no}); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := k.lab.WriteWebCA(ca); err != nil {
		t.Fatal(err)
	}
	for age, want := range map[time.Duration]bool{0: false, 2 * straightFor: true} {
		at := time.Now().Add(-age)
		if err := os.Chtimes(profile.ConfigPath(k.home, "localhost"), at, at); err != nil {
			t.Fatal(err)
		}
		l, err := (&Globals{CAFile: ca}).open(systemEnv(), "")
		if err != nil {
			t.Fatal(err)
		}
		if got := l.kubectlNeedsUpgrade(t.Context(), systemEnv()); got != want {
			t.Errorf("%v after the login: an upgrade %v, want %v", age, got, want)
		}
	}
}
