package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"
)

// Only our own output may lose its reader in silence.
func TestFailOnBrokenPipe(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		says string
	}{
		"output":  {&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}, ""},
		"network": {fmt.Errorf("TLS: %w", &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}), "broken pipe"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if code := fail(&Env{Stderr: &out}, tt.err); code != exitFailure {
				t.Errorf("exit code %d", code)
			}
			if (tt.says == "") != (out.String() == "") || !strings.Contains(out.String(), tt.says) {
				t.Errorf("said %q", out.String())
			}
		})
	}
}
