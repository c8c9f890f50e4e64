// Package sshproxy opens one stream to an SSH node through the access proxy:
// an SSH connection to the proxy itself, with a subsystem that pipes to the
// node (docs/protocol.md, "SSH").
//
//	s, err := sshproxy.Open(ctx, c, sshproxy.Options{...})
//	_, err = conn.Stdio(ctx, os.Stdin, os.Stdout, s)
//
// The bytes of the stream are the node's own SSH protocol; OpenSSH speaks it.
package sshproxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// HandshakeTimeout bounds the SSH handshake with the proxy and the opening of
// the subsystem; the proxy dials the node within it.
const HandshakeTimeout = 30 * time.Second

// Options say who asks for which node.
type Options struct {
	Addr   string     // of the proxy, host:port; the host certificate must hold its host
	User   string     // a principal of the user's certificate
	Signer ssh.Signer // the user's certificate and key
	Hosts  *Authorities
	Node   Node
}

// Session is a stream to a node. Read, Write and CloseWrite carry the node's
// bytes; Close ends the connection to the proxy. Methods may be called
// concurrently.
type Session struct {
	client  *ssh.Client
	channel ssh.Channel

	stderr   tail
	finished chan struct{} // closed when stderr and exit status are complete
	status   uint32
}

// RefusedError says that the proxy did not connect to the node.
type RefusedError struct {
	Node   Node
	Reason string // the proxy's words, one line
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the proxy refused %s: %s", e.Node, e.Reason)
}

// Open runs the SSH handshake over c and opens the stream to the node. The
// session owns c from then on; if Open fails, c is closed. ctx bounds Open
// only.
func Open(ctx context.Context, c net.Conn, o Options) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	s, err := open(c, o)
	if err != nil {
		c.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("SSH to the proxy %s: %w", o.Addr, context.Cause(ctx))
		}
		return nil, err
	}
	return s, nil
}

func open(c net.Conn, o Options) (*Session, error) {
	cc, chans, reqs, err := ssh.NewClientConn(c, o.Addr, &ssh.ClientConfig{
		User:              o.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(o.Signer)},
		HostKeyCallback:   o.Hosts.Callback(),
		HostKeyAlgorithms: hostCertAlgorithms,
	})
	if err != nil {
		return nil, fmt.Errorf("SSH to the proxy %s as %q: %w", o.Addr, o.User, err)
	}
	s := &Session{client: ssh.NewClient(cc, chans, reqs), finished: make(chan struct{})}
	if err := s.start(o); err != nil {
		s.client.Close()
		return nil, err
	}
	return s, nil
}

func (s *Session) start(o Options) error {
	if err := forwardAgent(s.client, o.Signer); err != nil {
		return err
	}
	channel, reqs, err := s.client.OpenChannel("session", nil)
	if err != nil {
		return fmt.Errorf("open a session on the proxy %s: %w", o.Addr, err)
	}
	s.channel = channel
	go s.watch(reqs)
	// The proxy needs the agent only if it records sessions itself. A refusal
	// changes nothing for the others, so no round trip is spent on the answer.
	if _, err := channel.SendRequest("auth-agent-req@openssh.com", false, nil); err != nil {
		return fmt.Errorf("request agent forwarding: %w", err)
	}
	payload := ssh.Marshal(struct{ Name string }{o.Node.subsystem()})
	ok, err := channel.SendRequest("subsystem", true, payload)
	if err != nil {
		return s.refused(o.Node, fmt.Sprintf("connection ended (%v)", err))
	}
	if !ok {
		return s.refused(o.Node, "subsystem request denied")
	}
	return nil
}

// refused prefers the proxy's own words, which arrive on the channel's standard
// error.
func (s *Session) refused(n Node, reason string) error {
	s.channel.Close()
	<-s.finished
	if text := s.stderr.line(); text != "" {
		reason = text
	}
	return &RefusedError{n, reason}
}

// watch collects what the proxy says besides the stream, until the channel
// ends.
func (s *Session) watch(reqs <-chan *ssh.Request) {
	defer close(s.finished)
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(&s.stderr, s.channel.Stderr()) })
	for r := range reqs {
		if r.Type == "exit-status" {
			var p struct{ Status uint32 }
			if ssh.Unmarshal(r.Payload, &p) == nil {
				s.status = p.Status
			}
		}
		if r.WantReply {
			r.Reply(false, nil)
		}
	}
	wg.Wait()
}

// Read reads the node's bytes.
func (s *Session) Read(p []byte) (int, error) { return s.channel.Read(p) }

// Write sends bytes to the node.
func (s *Session) Write(p []byte) (int, error) { return s.channel.Write(p) }

// CloseWrite tells the node that no more bytes follow (RFC 4254, section 5.3).
func (s *Session) CloseWrite() error { return s.channel.CloseWrite() }

// Close ends the stream and the connection to the proxy.
func (s *Session) Close() error {
	s.channel.Close()
	return s.client.Close()
}

// Refused returns a *RefusedError if the proxy reported a failure, for a stream
// that ended without a byte from the node. Call it after Close.
func (s *Session) Refused(n Node) error {
	<-s.finished
	text := s.stderr.line()
	if s.status == 0 && text == "" {
		return nil
	}
	if text == "" {
		text = fmt.Sprintf("exit status %d", s.status)
	}
	return &RefusedError{n, text}
}

// tail keeps the beginning of what the proxy writes to standard error.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// tailMax is enough for a sentence and bounds what a server can make us keep.
const tailMax = 1024

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p[:min(len(p), tailMax-len(t.buf))]...)
	return len(p), nil
}

// line returns the text as one printable line.
func (t *tail) line() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(t.buf), " "))
	return strings.Join(strings.Fields(clean), " ")
}
