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

	dir := t.TempDir()
	self, err := os.Executable() // which is tshx by that name only
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "tshx")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte("#!/bin/sh\necho kubectl ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "tshx"), "kubectl", "get", "pods")
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
