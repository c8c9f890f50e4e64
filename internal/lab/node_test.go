package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

func loginNode(t *testing.T) *ssh.Client {
	t.Helper()
	if !canTerminal {
		t.Skip("the commands of these tests need a Unix shell")
	}
	l := start(t, Demo())
	return writeHome(t, l, l.Addr, HomeOptions{}).ssh(t, l, "node1")
}

func TestNodeExec(t *testing.T) {
	t.Setenv("SHELL", "/bin/sh")
	client := loginNode(t)
	for _, tt := range []struct {
		name, command, stdin string
		stdout, stderr       string
		status               int
	}{
		{"output", "echo out; echo err >&2", "", "out\n", "err\n", 0},
		{"status", "exit 7", "", "", "", 7},
		{"signal", "kill -TERM $$", "", "", "", 128 + 15},
		{"stdin", "tr a-z A-Z", "shout", "SHOUT", "", 0},
		{"stdin not read", "true", strings.Repeat("x", 1<<20), "", "", 0},
		{"environment", "echo $LC_TEST", "", "set\n", "", 0},
		{"no such command", "no-such-command-here 2>/dev/null", "", "", "", 127},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := client.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Setenv("LC_TEST", "set"); err != nil {
				t.Fatal(err)
			}
			if err := s.Setenv("LD_PRELOAD", "x"); err == nil {
				t.Error("any variable can be set")
			}
			var stdout, stderr bytes.Buffer
			s.Stdin, s.Stdout, s.Stderr = strings.NewReader(tt.stdin), &stdout, &stderr
			err = s.Run(tt.command)
			status := 0
			var exit *ssh.ExitError
			if errors.As(err, &exit) {
				status = exit.ExitStatus()
			}
			if status != tt.status || stdout.String() != tt.stdout || stderr.String() != tt.stderr {
				t.Errorf("%d %q %q %v, want %d %q %q", status, &stdout, &stderr, err, tt.status, tt.stdout, tt.stderr)
			}
		})
	}
}

func TestNodeShell(t *testing.T) {
	t.Setenv("SHELL", "/bin/sh")
	s, err := loginNode(t).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.RequestPty("vt100", 31, 77, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.WindowChange(33, 79); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	s.Stdout = &out
	s.Stdin = strings.NewReader("tty; stty size; echo term=$TERM; exit 3\n")
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	err = s.Wait()
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() != 3 {
		t.Errorf("end: %v", err)
	}
	for _, want := range []string{"/dev/", "33 79", "term=vt100"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, &out)
		}
	}
}

// A command whose client has gone must not stay behind. While it runs it holds
// a pipe open, whose end of file therefore tells its end.
func TestNodeEndsCommands(t *testing.T) {
	t.Setenv("SHELL", "/bin/sh")
	client := loginNode(t)
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(fmt.Sprintf("mkfifo %s && echo up && exec sleep 1000 3>%s", fifo, fifo)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(fifo) // waits for the command to open it
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	client.Close()
	if _, err := io.ReadAll(f); err != nil {
		t.Error(err)
	}
}

func TestNodeSFTP(t *testing.T) {
	c, err := sftp.NewClient(loginNode(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	f, err := c.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("content")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestNodeForward(t *testing.T) {
	l := start(t, Demo())
	client := writeHome(t, l, l.Addr, HomeOptions{}).ssh(t, l, "node1")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			echo(c)
		}
	}()
	c, err := client.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "ding")
	c.(interface{ CloseWrite() error }).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "ding" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := client.Dial("tcp", "127.0.0.1:1"); err == nil {
		t.Error("dialled a closed port")
	}
}
