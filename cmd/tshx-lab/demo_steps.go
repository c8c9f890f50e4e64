package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/profile"
)

// endTimeout is how long a program may take to end after an interrupt.
const endTimeout = 5 * time.Second

// command prepares a program with the login of the current way. It is
// interrupted when ctx ends.
func (d *demo) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TELEPORT_") && !strings.HasPrefix(v, "TSHX_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, d.vars...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = endTimeout
	return cmd
}

// because adds the last thing that a program said to its failure.
func because(err error, stderr *bytes.Buffer) error {
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if err == nil || lines[len(lines)-1] == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, lines[len(lines)-1])
}

// ssh runs a command on the node: tshx carries the stream, and the SSH is
// spoken here, over its standard input and output.
func (d *demo) ssh(ctx context.Context) (string, error) {
	cmd := d.command(ctx, d.tshx, "proxy", "ssh", "root@node1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return "", err
	}
	output, err := d.runOnNode(&pipes{Reader: out, WriteCloser: in}, nodeCommand)
	in.Close()
	if waitErr := cmd.Wait(); err == nil && waitErr != nil {
		err = fmt.Errorf("tshx: %w", waitErr)
	}
	if err != nil {
		return "", because(err, &stderr)
	}
	return fmt.Sprintf("tshx proxy ssh root@node1: the node says %q", output), nil
}

func (d *demo) runOnNode(stream net.Conn, command string) (string, error) {
	p, err := profile.Load(profile.Options{Dir: strings.TrimPrefix(d.vars[0], "TELEPORT_HOME="), Getenv: func(string) string { return "" }, Now: time.Now})
	if err != nil {
		return "", err
	}
	_, signer, err := p.SSHSigner()
	if err != nil {
		return "", err
	}
	ca := d.lab.Authority.SSHHost.PublicKey().Marshal()
	checker := &ssh.CertChecker{IsHostAuthority: func(k ssh.PublicKey, _ string) bool { return bytes.Equal(k.Marshal(), ca) }}
	sc, chans, reqs, err := ssh.NewClientConn(stream, "node1:22", &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: checker.CheckHostKey,
	})
	if err != nil {
		return "", fmt.Errorf("ssh to the node: %w", err)
	}
	client := ssh.NewClient(sc, chans, reqs)
	defer client.Close()
	s, err := client.NewSession()
	if err != nil {
		return "", err
	}
	b, err := s.Output(command)
	return strings.TrimSpace(string(b)), err
}

// pipes are the two ends of a program as a net.Conn, of which x/crypto/ssh uses
// neither addresses nor deadlines.
type pipes struct {
	io.Reader
	io.WriteCloser
}

func (*pipes) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "pipe"} }
func (*pipes) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "pipe"} }
func (*pipes) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (*pipes) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (*pipes) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// listening is what tshx announces.
type listening struct {
	Address string
	Env     map[string]string `json:"command_env"`
}

// listen starts a tshx that listens, calls use with what it announces, ends it by
// an interrupt, as a user would, and expects a good end.
func (d *demo) listen(ctx context.Context, use func(listening) (string, error), args ...string) (string, error) {
	running, stop := context.WithCancel(ctx)
	defer stop()
	cmd := d.command(running, d.tshx, append(args, "--format", "json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	var l listening
	err = json.NewDecoder(out).Decode(&l)
	if errors.Is(err, io.EOF) {
		err = errors.New("tshx ended before it listened")
	}
	go io.Copy(io.Discard, out)
	var text string
	if err == nil {
		text, err = use(l)
	}
	stop()
	waitErr := cmd.Wait()
	if err != nil {
		return "", because(err, &stderr)
	}
	var exit *exec.ExitError
	if errors.As(waitErr, &exit) {
		return "", because(fmt.Errorf("tshx ended with %w after an interrupt", exit), &stderr)
	}
	return text, nil
}

// dial connects to a tshx. The connection ends with ctx.
func dial(ctx context.Context, addr string) (net.Conn, func(), error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	return c, func() { stop(); c.Close() }, nil
}

// redis stores a value through tshx and reads it again, in Redis's protocol.
func (d *demo) redis(ctx context.Context) (string, error) {
	return d.listen(ctx, func(l listening) (string, error) {
		c, done, err := dial(ctx, l.Address)
		if err != nil {
			return "", err
		}
		defer done()
		r := bufio.NewReader(c)
		for _, x := range []struct {
			send []string
			want string
		}{
			{[]string{"SET", "greeting", "hello"}, "+OK\r\n"},
			{[]string{"GET", "greeting"}, "$5\r\nhello\r\n"},
		} {
			fmt.Fprintf(c, "*%d\r\n", len(x.send))
			for _, word := range x.send {
				fmt.Fprintf(c, "$%d\r\n%s\r\n", len(word), word)
			}
			got := make([]byte, len(x.want))
			if _, err := io.ReadFull(r, got); err != nil {
				return "", fmt.Errorf("%s: %w", x.send[0], err)
			}
			if string(got) != x.want {
				return "", fmt.Errorf("%s: the answer is %q", x.send[0], got)
			}
		}
		return fmt.Sprintf(`tshx proxy db cache --tunnel: at %s, SET and GET answer "hello"`, l.Address), nil
	}, "proxy", "db", "cache", "--tunnel", "--port", "0")
}

// tcp sends a lot through tshx, half-closes, and compares what comes back.
func (d *demo) tcp(ctx context.Context) (string, error) {
	const size = 16 << 20
	return d.listen(ctx, func(l listening) (string, error) {
		c, done, err := dial(ctx, l.Address)
		if err != nil {
			return "", err
		}
		defer done()
		sent, received := sha256.New(), sha256.New()
		failed := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.MultiWriter(c, sent), io.LimitReader(rand.Reader, size))
			failed <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
		}()
		n, err := io.Copy(received, c)
		if err != nil {
			return "", err
		}
		if err := <-failed; err != nil {
			return "", err
		}
		if n != size || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
			return "", fmt.Errorf("%d bytes came back of %d, or others", n, size)
		}
		return fmt.Sprintf("tshx proxy app echo: at %s, %d MiB there and back, the same bytes", l.Address, size>>20), nil
	}, "proxy", "app", "echo", "--port", "0")
}

func (d *demo) redisCLI(ctx context.Context, path string) (string, error) {
	return d.listen(ctx, func(l listening) (string, error) {
		host, port, err := net.SplitHostPort(l.Address)
		if err != nil {
			return "", err
		}
		out, err := d.output(ctx, path, "-h", host, "-p", port, "INCR", "visits")
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("redis-cli -h %s -p %s INCR visits: %s", host, port, strings.TrimSpace(out)), nil
	}, "proxy", "db", "cache", "--tunnel", "--port", "0")
}
