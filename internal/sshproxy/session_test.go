package sshproxy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/conn"
	"tshx/internal/proxyserver"
	"tshx/internal/sshproxy"
)

var _ conn.Stream = (*sshproxy.Session)(nil)

// bound ends a test that hangs.
const bound = 20 * time.Second

func TestSessionCarriesBothWays(t *testing.T) {
	const size = 4 << 20
	up, down := make([]byte, size), make([]byte, size)
	rand.Read(up)
	rand.Read(down)
	for name, tt := range map[string]struct {
		behavior proxyserver.Behavior
		upgraded bool
	}{
		"raw v14":       {proxyserver.V14(), false},
		"raw v17":       {proxyserver.V17(), false},
		"legacy v14":    {proxyserver.V14(), true},
		"websocket v17": {proxyserver.V17(), true},
	} {
		t.Run(name, func(t *testing.T) {
			atNode := make(chan [sha256.Size]byte, 1)
			p := startProxy(t, tt.behavior, node(t, "node1", func(c net.Conn) {
				sent := make(chan struct{})
				go func() { defer close(sent); c.Write(down); conn.CloseWrite(c) }()
				h := sha256.New()
				io.Copy(h, c)
				<-sent
				atNode <- [sha256.Size]byte(h.Sum(nil))
			}))
			s, err := sshproxy.Open(t.Context(), p.dial(tt.upgraded), options(t))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			go func() { s.Write(up); s.CloseWrite() }()
			h := sha256.New()
			if n, err := io.Copy(h, s); n != size || err != nil {
				t.Errorf("received %d bytes, %v", n, err)
			}
			if [sha256.Size]byte(h.Sum(nil)) != sha256.Sum256(down) {
				t.Error("the bytes from the node differ")
			}
			if <-atNode != sha256.Sum256(up) {
				t.Error("the bytes to the node differ")
			}
			s.Close()
			if err := s.Refused(sshproxy.Node{Host: "node1"}); err != nil {
				t.Error(err)
			}
		})
	}
}

// The reply to a half-closed request arrives.
func TestSessionHalfClose(t *testing.T) {
	p := startProxy(t, proxyserver.V17(), node(t, "node1", echoAll))
	s, err := p.open(options(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(s, "question"); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(s); err != nil || string(b) != "question" {
		t.Errorf("read %q, %v", b, err)
	}
}

// sessionConn is a session as the net.Conn that x/crypto/ssh wants.
type sessionConn struct {
	net.Conn // nil: addresses and deadlines are not asked for
	s        *sshproxy.Session
}

func (c sessionConn) Read(p []byte) (int, error)  { return c.s.Read(p) }
func (c sessionConn) Write(p []byte) (int, error) { return c.s.Write(p) }
func (c sessionConn) Close() error                { return c.s.Close() }
func (c sessionConn) RemoteAddr() net.Addr        { return &net.TCPAddr{} }

// A real SSH node behind the proxy: login, command, output and exit status, and
// an end that the node decides on.
func TestSessionToSSHNode(t *testing.T) {
	host, err := authority().SSHHostSigner("Node", "node1")
	if err != nil {
		t.Fatal(err)
	}
	cfg := &ssh.ServerConfig{NoClientAuth: true}
	cfg.AddHostKey(host)
	p := startProxy(t, proxyserver.V17(), node(t, "node1", func(c net.Conn) { serveNode(c, cfg) }))
	o := options(t)
	s, err := p.open(o)
	if err != nil {
		t.Fatal(err)
	}
	cc, chans, reqs, err := ssh.NewClientConn(sessionConn{s: s}, "localhost:22", &ssh.ClientConfig{
		User: "root", HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if !bytes.Equal(key.Marshal(), host.PublicKey().Marshal()) {
				return errors.New("not the node")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(cc, chans, reqs)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	session.Stdin = bytes.NewReader(bytes.Repeat([]byte("0123456789"), 1<<16))
	out, err := session.Output("wc -c; exit 3")
	var exit *ssh.ExitError
	if !errors.As(err, &exit) || exit.ExitStatus() != 3 || string(out) != "655360\n" {
		t.Errorf("output %q, %v", out, err)
	}
}

// serveNode knows one command.
func serveNode(c net.Conn, cfg *ssh.ServerConfig) {
	sc, chans, reqs, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	defer sc.Close()
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		(<-reqs).Reply(true, nil)
		go ssh.DiscardRequests(reqs)
		n, _ := io.Copy(io.Discard, ch)
		io.WriteString(ch, strconv.FormatInt(n, 10)+"\n")
		ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{3}))
		ch.Close()
	}
}

// The node leaves while standard input stays open: the command must end.
func TestStdioEndsWithTheNode(t *testing.T) {
	p := startProxy(t, proxyserver.V17(), node(t, "node1", func(c net.Conn) { io.WriteString(c, "bye") }))
	s, err := p.open(options(t))
	if err != nil {
		t.Fatal(err)
	}
	in, stdin := io.Pipe()
	defer stdin.Close()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	st, err := conn.Stdio(ctx, in, &out, s)
	if err != nil || out.String() != "bye" || st.Received != 3 {
		t.Errorf("Stdio = %+v, %v, out %q", st, err, out.String())
	}
	if err := s.Refused(sshproxy.Node{}); err != nil {
		t.Error(err)
	}
}

// Standard input ends at once: what the node has to say is not lost.
func TestStdioKeepsTheReply(t *testing.T) {
	p := startProxy(t, proxyserver.V17(), node(t, "node1", echoAll))
	s, err := p.open(options(t))
	if err != nil {
		t.Fatal(err)
	}
	in := bytes.Repeat([]byte("request "), 1<<17)
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if _, err := conn.Stdio(ctx, bytes.NewReader(in), &out, s); err != nil || !bytes.Equal(out.Bytes(), in) {
		t.Errorf("Stdio = %v, %d bytes back of %d", err, out.Len(), len(in))
	}
}

func TestStdioContext(t *testing.T) {
	p := startProxy(t, proxyserver.V17(), node(t, "node1", func(c net.Conn) { io.Copy(io.Discard, c) }))
	s, err := p.open(options(t))
	if err != nil {
		t.Fatal(err)
	}
	in, stdin := io.Pipe()
	defer stdin.Close()
	cause := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	if _, err := conn.Stdio(ctx, in, io.Discard, s); !errors.Is(err, cause) {
		t.Errorf("Stdio = %v", err)
	}
}
