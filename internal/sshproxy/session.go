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
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/plain"
)

// HandshakeTimeout bounds the SSH handshake with the proxy and the opening of
// the subsystem; the proxy dials the node within it.
const HandshakeTimeout = 30 * time.Second

// wordsTimeout bounds the wait for the proxy's reasons once it is clear that
// it has refused.
const wordsTimeout = time.Second

// Options say who asks for which node.
type Options struct {
	Addr   string     // of the proxy, host:port; the host certificate must hold its host
	User   string     // a principal of the user's certificate
	Signer ssh.Signer // the user's certificate and key
	Hosts  *Authorities
	Node   Node
}

// Session is a stream to a node. Read, Write and CloseWrite carry the node's
// bytes; Close ends the connection to the proxy. One goroutine may read, one
// may write and half-close, and any may close.
type Session struct {
	wire    *wire
	client  *ssh.Client
	channel ssh.Channel

	answered atomic.Bool // the node has sent something
	stderr   words

	finished chan struct{} // closed when the fields below and stderr are complete
	ended    bool          // by the proxy: it sent an exit status or closed the channel
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
	w := &wire{Conn: c}
	stop := context.AfterFunc(ctx, func() { w.Close() })
	s, err := open(w, o)
	if !stop() { // ctx has ended and c is closed, whatever open says
		err = fmt.Errorf("SSH to the proxy %s: %w", o.Addr, context.Cause(ctx))
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	return s, nil
}

func open(w *wire, o Options) (*Session, error) {
	cc, chans, reqs, err := ssh.NewClientConn(w, o.Addr, &ssh.ClientConfig{
		User:              o.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(o.Signer)},
		HostKeyCallback:   o.Hosts.Callback(),
		HostKeyAlgorithms: hostCertAlgorithms,
	})
	if err != nil {
		return nil, fmt.Errorf("SSH to the proxy %s as %q: %w", o.Addr, o.User, err)
	}
	s := &Session{wire: w, client: ssh.NewClient(cc, chans, reqs), finished: make(chan struct{})}
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
	var rejected *ssh.OpenChannelError
	if errors.As(err, &rejected) {
		reason := plain.Line(rejected.Message, wordsMax)
		if reason == "" {
			reason = rejected.Reason.String()
		}
		return &RefusedError{o.Node, reason}
	}
	if err != nil {
		return fmt.Errorf("open a session on the proxy %s: %w", o.Addr, s.cause(err))
	}
	s.channel = channel
	go s.watch(reqs)
	// The proxy needs the agent only if it records sessions itself. A refusal
	// changes nothing for the others, so no round trip is spent on the answer.
	if _, err := channel.SendRequest("auth-agent-req@openssh.com", false, nil); err != nil {
		return fmt.Errorf("request agent forwarding: %w", s.cause(err))
	}
	payload := ssh.Marshal(struct{ Name string }{o.Node.subsystem()})
	ok, err := channel.SendRequest("subsystem", true, payload)
	if err != nil || !ok {
		return s.refused(o, err)
	}
	return nil
}

// cause prefers how the connection was lost to what followed from it.
func (s *Session) cause(err error) error {
	if lost := s.wire.lost(); lost != nil {
		return fmt.Errorf("connection lost: %w", lost)
	}
	return err
}

// refused turns an answer to the subsystem request, or the lack of one, into an
// error. It prefers the proxy's own words, which arrive on the channel's
// standard error, before or after the answer.
func (s *Session) refused(o Options, err error) error {
	s.await()
	lost := s.wire.lost()
	s.client.Close()
	<-s.finished
	switch text := s.stderr.line(); {
	case text != "":
		return &RefusedError{o.Node, text}
	case lost != nil:
		return fmt.Errorf("request %s from the proxy %s: %w", o.Node, o.Addr, s.cause(err))
	case err != nil:
		return &RefusedError{o.Node, "it ended the session"}
	}
	return &RefusedError{o.Node, "subsystem request denied"}
}

// await waits until the proxy has said everything, but not for long.
func (s *Session) await() {
	t := time.NewTimer(wordsTimeout)
	defer t.Stop()
	select {
	case <-s.finished:
	case <-t.C:
	}
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
				s.status, s.ended = p.Status, true
			}
		}
		if r.WantReply {
			r.Reply(false, nil)
		}
	}
	s.ended = s.ended || s.wire.lost() == nil
	wg.Wait()
}

// Read reads the node's bytes. io.EOF means that the proxy ended the stream; if
// instead the connection to the proxy broke, the error says so.
func (s *Session) Read(p []byte) (int, error) {
	n, err := s.channel.Read(p)
	if n > 0 {
		// An error would be about the window; what was received comes first.
		s.answered.Store(true)
		return n, nil
	}
	if err == io.EOF {
		err = s.ending()
	}
	return 0, err
}

// ending says how the stream ended of which the last byte has been read.
func (s *Session) ending() error {
	if !s.answered.Load() {
		s.await() // why there was nothing may still be on its way
	}
	if s.wire.lost() == nil {
		return io.EOF
	}
	<-s.finished // at once: there is no connection
	if s.ended {
		return io.EOF
	}
	return s.cause(io.EOF)
}

// Write sends bytes to the node.
func (s *Session) Write(p []byte) (int, error) { return s.channel.Write(p) }

// CloseWrite tells the node that no more bytes follow (RFC 4254, section 5.3).
func (s *Session) CloseWrite() error { return s.channel.CloseWrite() }

// Close ends the stream and the connection to the proxy, and with them a Read
// or a Write that is under way. Bytes that were written but not answered may be
// lost; CloseWrite and a read to the end avoid that.
func (s *Session) Close() error {
	// Closing the channel first would wait behind a Write that is stuck.
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
