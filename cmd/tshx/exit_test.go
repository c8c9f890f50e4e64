package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"tshx/internal/cloudproxy"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// A proxy, or what stands in front of it, that hangs up is told from a
// connection that breaks later.
func TestHintOnHangUp(t *testing.T) {
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	_, dialled := (&slowDialer{RouteDialer: failing{fmt.Errorf("TLS to the proxy p:443: %w", reset)}}).Dial(t.Context(), tlsroute.Route{})
	noAnswer := errors.New("upgrade at p:443: closed the connection without an answer")
	for _, tt := range []struct {
		name string
		err  error
		hint string
	}{
		{"reset during the dial", dialled, "the proxy's web port"},
		{"reset later", reset, ""},
		{"no answer to either upgrade", &upgrade.AttemptsError{WebSocket: noAnswer, Legacy: noAnswer}, "check address and port"},
		{"an upgrade that was answered", &upgrade.AttemptsError{WebSocket: noAnswer, Legacy: &upgrade.RefusedError{Status: 404}}, "does not route"},
		{"not the cloud's", &cloudproxy.DirectError{Addr: "x:1", Err: syscall.ECONNREFUSED}, "check host and port"},
		{"too slow", os.ErrDeadlineExceeded, "no answer in time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := hint(fmt.Errorf("outer: %w", tt.err))
			if !strings.Contains(got, tt.hint) || (got == "") != (tt.hint == "") {
				t.Errorf("hint %q", got)
			}
		})
	}
}

// failing is a dialer.
type failing struct{ err error }

func (f failing) Dial(context.Context, tlsroute.Route) (net.Conn, error) { return nil, f.err }

// What comes from elsewhere does not reach the terminal as it is.
func TestTalkIsPlain(t *testing.T) {
	env, talk := testEnv()
	evil := "a\x1b]0;title\x07\nb\u009b2J"
	say(env, evil)
	warn(env, "of %s", evil)
	fail(env, errors.New(evil))
	(&reporter{env: env, what: evil}).report(errors.New(evil))
	if got := talk.String(); strings.Count(got, "\n") != 4 || strings.ContainsAny(got, "\x1b\x07\u009b") {
		t.Errorf("said %q", got)
	}
}

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
