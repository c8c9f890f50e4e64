package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// The far side leaves while standard input stays open: Stdio must not wait for
// input that will never come.
func TestStdioEndsWithRemote(t *testing.T) {
	remote, far := tcpPair(t)
	in, stdin := io.Pipe()
	defer stdin.Close()
	go func() { io.WriteString(far, "bye"); far.Close() }()
	var out bytes.Buffer
	st, err := Stdio(t.Context(), in, &out, remote.(Stream))
	if err != nil || out.String() != "bye" || st.Received != 3 {
		t.Errorf("Stdio = %+v, %v, out %q", st, err, out.String())
	}
}

// Input ends first: the reply must still arrive.
func TestStdioKeepsReplyAfterInputEnds(t *testing.T) {
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			remote, far := pair(t)
			go func() {
				req, _ := io.ReadAll(far) // returns only when the half-close arrives
				far.Write(bytes.ToUpper(req))
				far.Close()
			}()
			var out bytes.Buffer
			_, err := Stdio(t.Context(), strings.NewReader("ping"), &out, remote.(Stream))
			if err != nil || out.String() != "PING" {
				t.Errorf("Stdio = %v, out %q", err, out.String())
			}
		})
	}
}

func TestStdioReset(t *testing.T) {
	remote, far := tcpPair(t)
	in, stdin := io.Pipe()
	defer stdin.Close()
	Abort(far)
	if _, err := Stdio(t.Context(), in, io.Discard, remote.(Stream)); !PeerGone(err) {
		t.Errorf("Stdio = %v, want a reset", err)
	}
}

func TestStdioContext(t *testing.T) {
	cause := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	remote, _ := tcpPair(t)
	in, stdin := io.Pipe()
	defer stdin.Close()
	cancel(cause)
	if _, err := Stdio(ctx, in, io.Discard, remote.(Stream)); !errors.Is(err, cause) {
		t.Errorf("Stdio = %v, want %v", err, cause)
	}
}

// A reader of our output that has stopped must not keep us from ending.
func TestStdioContextWhileOutputIsStuck(t *testing.T) {
	cause := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	remote, far := tcpPair(t)
	in, stdin := io.Pipe()
	defer stdin.Close()
	stdout, out := io.Pipe()
	defer stdout.Close()
	io.WriteString(far, "x")
	go func() {
		io.ReadFull(stdout, make([]byte, 1)) // the one byte; then nobody reads
		io.WriteString(far, "y")
		cancel(cause)
	}()
	if _, err := Stdio(ctx, in, out, remote.(Stream)); !errors.Is(err, cause) {
		t.Errorf("Stdio = %v, want %v", err, cause)
	}
}

// Input that breaks is not input that ends.
func TestStdioInputBroken(t *testing.T) {
	remote, far := tcpPair(t)
	broken := errors.New("terminal is gone")
	in, stdin := io.Pipe()
	stdin.CloseWithError(broken)
	if _, err := Stdio(t.Context(), in, io.Discard, remote.(Stream)); !errors.Is(err, broken) {
		t.Errorf("Stdio = %v, want %v", err, broken)
	}
	if _, err := io.ReadAll(far); err != nil {
		t.Error(err)
	}
}

type closedOutput struct{}

func (closedOutput) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestStdioOutputGone(t *testing.T) {
	remote, far := tcpPair(t)
	in, stdin := io.Pipe()
	defer stdin.Close()
	io.WriteString(far, "x")
	if _, err := Stdio(t.Context(), in, closedOutput{}, remote.(Stream)); err == nil {
		t.Error("Stdio hides that its output is gone")
	}
}
