package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// nodeCommand is run on the node by its shell, which needs no program for it.
const nodeCommand = "echo hello from process $$"

// output runs a program and returns what it prints.
func (d *demo) output(ctx context.Context, path string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := d.command(ctx, path, args...)
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		return "", because(err, &stderr)
	}
	return string(b), nil
}

// openSSH uses the configuration that tshx prints.
func (d *demo) openSSH(ctx context.Context, path string) (string, error) {
	config, err := d.output(ctx, d.tshx, "config")
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.dir, "ssh_config")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return "", err
	}
	out, err := d.output(ctx, path, "-F", file, "-o", "BatchMode=yes", "root@node1.lab.example.com", nodeCommand)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("tshx config > F; ssh -F F root@node1.lab.example.com: %q", strings.TrimSpace(out)), nil
}

// tshxSSH has tshx run OpenSSH.
func (d *demo) tshxSSH(ctx context.Context) (string, error) {
	out, err := d.output(ctx, d.tshx, "ssh", "-o", "BatchMode=yes", "root@node1", nodeCommand)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("tshx ssh root@node1: %q", strings.TrimSpace(out)), nil
}

// tshxSCP copies a file to the node and back.
func (d *demo) tshxSCP(ctx context.Context) (string, error) {
	const size = 1 << 20
	here, there, back := filepath.Join(d.dir, "here"), filepath.Join(d.dir, "there"), filepath.Join(d.dir, "back")
	content := make([]byte, size)
	rand.Read(content)
	if err := os.WriteFile(here, content, 0o600); err != nil {
		return "", err
	}
	for _, way := range [][2]string{{here, "root@node1:" + there}, {"root@node1:" + there, back}} {
		if _, err := d.output(ctx, d.tshx, "scp", "-q", "-o", "BatchMode=yes", way[0], way[1]); err != nil {
			return "", err
		}
	}
	got, err := os.ReadFile(back)
	if err == nil && !bytes.Equal(got, content) {
		err = errors.New("another file came back")
	}
	return fmt.Sprintf("tshx scp FILE root@node1:FILE: %d MiB there and back, the same bytes", size>>20), err
}

// upgradeTest has tshx look at the way to the proxy.
func (d *demo) upgradeTest(ctx context.Context) (string, error) {
	out, err := d.output(ctx, d.tshx, "upgrade", "test", d.addr, "--format", "json")
	if err != nil {
		return "", err
	}
	var report struct {
		Checks []struct{ Status string }
		Use    struct{ Way string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return "", err
	}
	passed := 0
	for _, c := range report.Checks {
		if c.Status == "passed" {
			passed++
		}
	}
	return fmt.Sprintf("tshx upgrade test %s: %d of %d checks pass; tshx uses: %s", d.addr, passed, len(report.Checks), report.Use.Way), nil
}
