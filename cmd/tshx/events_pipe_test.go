//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A pipe without a reader holds up the start until there is one, which is said.
func TestEventsToPipeWithoutReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	env, _ := testEnv()
	r, w := io.Pipe()
	env.Stderr = w
	type opened struct {
		w   io.WriteCloser
		err error
	}
	done := make(chan opened, 1)
	open := func(ctx context.Context) {
		out, err := openEvents(ctx, env, path)
		done <- opened{out, err}
	}
	talk := bufio.NewReader(r)
	ctx, cancel := context.WithCancel(t.Context())
	go open(ctx)
	line, err := talk.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "tshx: waiting for a reader of the pipe --events ") {
		t.Errorf("said %q, %v", line, err)
	}
	cancel()
	var code childExit
	if o := <-done; !errors.As(o.err, &code) || code == exitOK {
		t.Errorf("interrupted: %v", o.err)
	}

	go open(t.Context())
	if _, err := talk.ReadString('\n'); err != nil {
		t.Error(err)
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	io.WriteString(o.w, "event\n")
	o.w.Close()
	if line, err := bufio.NewReader(reader).ReadString('\n'); line != "event\n" {
		t.Errorf("read %q, %v", line, err)
	}
}
