package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// agentFiles are a lab's and an agent's configuration for an app at an address.
func agentFiles(t *testing.T) (labFile, agentFile string) {
	t.Helper()
	dir := t.TempDir()
	labFile, agentFile = filepath.Join(dir, "lab.yaml"), filepath.Join(dir, "agent.yaml")
	for path, text := range map[string]string{
		labFile:   "apps: [{name: echo, uri: \"tcp://\", agent: true}]\n",
		agentFile: "apps: [{name: echo, uri: \"tcp://127.0.0.1:1\"}]\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return labFile, agentFile
}

// An agent with the identity that up has written, there and where it was told to.
func TestAgent(t *testing.T) {
	labFile, agentFile := agentFiles(t)
	other := filepath.Join(t.TempDir(), "other")
	inDir := up(t, "--config", labFile)["agent"]
	if filepath.Base(inDir) != "agent" {
		t.Errorf("identity in %q", inDir)
	}
	if got := up(t, "--config", labFile, "--agent-dir", other)["agent"]; got != other {
		t.Errorf("identity in %q, not in %q", got, other)
	}
	for _, dir := range []string{inDir, other} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &firstLine{line: make(chan string, 1)}
		var stderr bytes.Buffer
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, &Env{Stdout: out, Stderr: &stderr}, []string{"agent", "--config", agentFile, "--identity", dir})
		}()
		select {
		case line := <-out.line:
			if !strings.HasPrefix(line, "ready: proxy=localhost:") || !strings.HasSuffix(line, " resources=1") {
				t.Errorf("it says %q", line)
			}
			cancel()
			if c := <-code; c != exitOK || stderr.Len() > 0 {
				t.Errorf("exit code %d, stderr %q", c, &stderr)
			}
		case c := <-code:
			t.Errorf("exit code %d, stderr %q", c, &stderr)
		}
		cancel()
	}
}

// A proxy that is not there yet is waited for, with one line that says so.
func TestAgentWaits(t *testing.T) {
	_, agentFile := agentFiles(t)
	labFile, _ := agentFiles(t)
	dir := up(t, "--config", labFile)["agent"]
	const addr = "127.0.0.1:1" // nobody's; a port that was just free may be somebody's
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	said := &firstLine{line: make(chan string, 1)}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, &Env{Stdout: new(bytes.Buffer), Stderr: said}, []string{"agent", "--config", agentFile, "--identity", dir, "--proxy", addr})
	}()
	if line := <-said.line; !strings.HasPrefix(line, "tshx-lab: no tunnel yet, trying again: ") || !strings.Contains(line, "refused") {
		t.Errorf("it says %q", line)
	}
	cancel()
	if c := <-code; c != exitOK || strings.Count(said.buf.String(), "\n") != 1 {
		t.Errorf("exit code %d, stderr %q", c, &said.buf)
	}
}

func TestAgentMistakes(t *testing.T) {
	labFile, agentFile := agentFiles(t)
	dir := up(t, "--config", labFile)["agent"]
	empty := t.TempDir()
	foreign := filepath.Join(t.TempDir(), "agent")
	up(t, "--agent-dir", foreign)
	addr, err := os.ReadFile(filepath.Join(dir, "agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, proxy, _ := strings.Cut(string(addr), "proxy: ")
	web, err := os.ReadFile(filepath.Join(dir, "web_ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(foreign, "web_ca.pem"), web, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		says string
	}{
		{nil, exitUsage, "--config is missing"},
		{[]string{"--config", agentFile}, exitUsage, "--identity is missing"},
		{[]string{"--config", filepath.Join(empty, "no"), "--identity", dir}, exitFailure, "no such file"},
		{[]string{"--config", labFile, "--identity", dir}, exitFailure, `belongs into the configuration of the lab`},
		{[]string{"--config", agentFile, "--identity", empty}, exitFailure, "holds no identity of an agent"},
		{[]string{"--config", agentFile, "--identity", dir, "--proxy", "nowhere"}, exitFailure, `"nowhere" is no host:port`},
		{[]string{"--config", agentFile, "--identity", dir, "--ca-file", agentFile}, exitUsage, "--ca-file: " + agentFile + " holds no PEM certificate"},
		{[]string{"--config", agentFile, "--identity", dir, "--ca-file", "nofile"}, exitUsage, "no such file"},
		{[]string{"--config", agentFile, "--identity", foreign, "--proxy", strings.TrimSpace(proxy)}, exitFailure, "not the cluster's"},
	} {
		t.Run(fmt.Sprint(tt.says), func(t *testing.T) {
			var out, stderr bytes.Buffer
			code := run(t.Context(), &Env{Stdout: &out, Stderr: &stderr}, append([]string{"agent"}, tt.args...))
			if code != tt.code || !strings.Contains(stderr.String(), tt.says) || strings.Count(stderr.String(), "\n") != 1 || out.Len() > 0 {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, &out, &stderr)
			}
		})
	}
}
