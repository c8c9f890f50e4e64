//go:build linux

package peer_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"

	"tshx/integration/peer"
)

// kubectl makes commands for one cluster.
type kubectl struct {
	*peer.Kube
	env []string
}

func (k kubectl) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), k.Kubectl, args...)
	cmd.Env = append(append(os.Environ(), "KUBECONFIG="+k.Kubeconfig, "HOME="+t.TempDir()), k.env...)
	return cmd
}

// run returns what the command says, and fails the test if it fails.
func (k kubectl) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := k.command(t, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %q: %v: %s", args, err, out)
	}
	return string(out)
}

// follow starts the command and returns its standard input and output. It is
// killed at the end of the test.
func (k kubectl) follow(t *testing.T, args ...string) (io.Writer, *bufio.Reader) {
	t.Helper()
	cmd := k.command(t, args...)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	cmd.Stderr = t.Output()
	if err := errors.Join(err1, err2, peer.Spawn(cmd)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return in, bufio.NewReader(out)
}

// TestKubernetes: kubectl's streams reach the pod through the API server, by
// both of its protocols.
func TestKubernetes(t *testing.T) {
	cluster := need(t, func() (*peer.Kube, error) { return peer.Kubernetes(t.TempDir()) })
	defer cluster.Close()
	plain := kubectl{Kube: cluster}
	if got := plain.run(t, "get", "ns", "-o", "name"); !strings.Contains(got, "namespace/default\n") {
		t.Errorf("namespaces: %q", got)
	}
	for name, value := range map[string]string{"websocket": "true", "spdy": "false"} {
		k := kubectl{cluster, []string{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=" + value, "KUBECTL_PORT_FORWARD_WEBSOCKETS=" + value}}
		t.Run(name, func(t *testing.T) {
			t.Run("exec", k.testExec)
			t.Run("terminal", k.testTerminal)
			t.Run("cp", k.testCopy)
			t.Run("port-forward", k.testForward)
			t.Run("attach", k.testAttach)
			t.Run("logs", k.testLogs)
		})
	}
}

func (k kubectl) testExec(t *testing.T) {
	cmd := k.command(t, "exec", "-i", k.Pod, "--", "sh", "-c", "cat; echo oops >&2; exit 3")
	cmd.Stdin = strings.NewReader("hello")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("got %v", err)
	}
	if stdout.String() != "hello" || !strings.HasPrefix(stderr.String(), "oops\n") {
		t.Errorf("got %q, %q", &stdout, &stderr)
	}
}

// testTerminal: the size of the terminal gets through.
func (k kubectl) testTerminal(t *testing.T) {
	const script = `until [ "$(stty size)" = "31 97" ]; do sleep 0.05; done; echo all right`
	cmd := k.command(t, "exec", "-it", k.Pod, "--", "sh", "-c", script)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 31, Cols: 97})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	out, _ := io.ReadAll(terminal) // ends with EIO
	if err := cmd.Wait(); err != nil || strings.TrimSpace(string(out)) != "all right" {
		t.Errorf("got %q, %v", out, err)
	}
}

func (k kubectl) testCopy(t *testing.T) {
	dir := t.TempDir()
	there, back := filepath.Join(dir, "there"), filepath.Join(dir, "back")
	want := make([]byte, 8<<20)
	rand.Read(want)
	if err := os.WriteFile(there, want, 0o600); err != nil {
		t.Fatal(err)
	}
	k.run(t, "cp", there, k.Pod+":copied")
	k.run(t, "cp", k.Pod+":copied", back)
	for _, path := range []string{filepath.Join(k.Root, "copied"), back} {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
}

// testForward: bytes and the end of them get to a server and back.
func (k kubectl) testForward(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				text, _ := io.ReadAll(c)
				c.Write(bytes.ToUpper(text))
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	_, out := k.follow(t, "port-forward", k.Pod, ":"+port)
	line, err := out.ReadString('\n')
	local := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	if err != nil || local == "" {
		t.Fatalf("got %q, %v", line, err)
	}
	for range 3 {
		c, err := net.Dial("tcp", local)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "hello")
		c.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "HELLO" {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func (k kubectl) testAttach(t *testing.T) {
	in, out := k.follow(t, "attach", "-i", k.Pod)
	want := t.Name() + "\n"
	io.WriteString(in, want)
	if got, err := out.ReadString('\n'); err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
}

func (k kubectl) testLogs(t *testing.T) {
	f, err := os.OpenFile(k.Log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, "one\ntwo\n"); err != nil {
		t.Fatal(err)
	}
	_, out := k.follow(t, "logs", "-f", "--tail=1", k.Pod)
	for _, want := range []string{"two\n", "three\n"} {
		if got, err := out.ReadString('\n'); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
		io.WriteString(f, "three\n")
	}
}
