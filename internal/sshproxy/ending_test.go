package sshproxy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tshx/internal/conn"
	"tshx/internal/sshproxy"
)

// accepted opens a session that f serves; the test's function runs once the
// subsystem has been accepted.
func accepted(t *testing.T, serve func(*fakeSession)) *sshproxy.Session {
	t.Helper()
	f := &fake{session: func(s *fakeSession) { s.request.Reply(true, nil); serve(s) }}
	s, err := sshproxy.Open(t.Context(), f.connect(t), options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A stream that ends in order is told from one whose connection broke.
func TestSessionEnds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve func(*fakeSession)
		lost  bool
	}{
		{"channel closed, as real proxies do", func(s *fakeSession) { s.Close() }, false},
		{"half-closed", func(s *fakeSession) { s.CloseWrite() }, false},
		{"half-closed, exit status, closed", func(s *fakeSession) { s.CloseWrite(); s.exit(0); s.Close() }, false},
		{"exit status, then the connection ends", func(s *fakeSession) {
			s.exit(0)
			s.Close()
			s.after = func() { s.conn.Close() }
		}, false},
		{"connection ends", func(s *fakeSession) { s.conn.Close() }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := accepted(t, func(s *fakeSession) { io.WriteString(s, "bytes"); tt.serve(s) })
			b, err := io.ReadAll(s)
			if string(b) != "bytes" {
				t.Errorf("read %q", b)
			}
			if lost := errors.Is(err, io.ErrUnexpectedEOF); lost != tt.lost || !lost && err != nil {
				t.Errorf("the end is %v", err)
			}
			if tt.lost && err != nil {
				checkLine(t, err)
			}
		})
	}
}

func TestSessionReset(t *testing.T) {
	read := make(chan struct{})
	s := accepted(t, func(s *fakeSession) {
		io.WriteString(s, "half")
		<-read
		conn.Abort(s.wire)
	})
	if _, err := io.ReadFull(s, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	close(read)
	if _, err := io.ReadAll(s); !conn.PeerGone(err) || !strings.Contains(err.Error(), "connection lost") {
		t.Errorf("the end is %v", err)
	}
}

// What the proxy says after it has accepted is kept for a stream that brought
// nothing, however late it comes.
func TestRefusedAfterAccept(t *testing.T) {
	node := sshproxy.Node{Host: "node1"}
	for _, tt := range []struct {
		name  string
		serve func(*fakeSession)
		want  string // empty: not refused
	}{
		{"words and exit status", func(s *fakeSession) { s.say("session\nkilled"); s.CloseWrite(); s.exit(1); s.Close() }, "session killed"},
		{"exit status alone", func(s *fakeSession) { s.CloseWrite(); s.exit(7); s.Close() }, "exit status 7"},
		{"slow", func(s *fakeSession) {
			s.CloseWrite()
			time.AfterFunc(100*time.Millisecond, func() { s.exit(1); s.Close() })
		}, "exit status 1"},
		{"success", func(s *fakeSession) { s.CloseWrite(); s.exit(0); s.Close() }, ""},
		{"closed", func(s *fakeSession) { s.Close() }, ""},
		{"left open", func(s *fakeSession) { s.CloseWrite() }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := accepted(t, tt.serve)
			in, stdin := io.Pipe()
			defer stdin.Close()
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			if st, err := conn.Stdio(ctx, in, io.Discard, s); err != nil || st.Received != 0 {
				t.Errorf("Stdio = %+v, %v", st, err)
			}
			err := s.Refused(node)
			var refused *sshproxy.RefusedError
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
			} else if !errors.As(err, &refused) || refused.Reason != tt.want || refused.Node != node {
				t.Errorf("Refused = %v", err)
			}
		})
	}
}

// Bytes that arrived before the end are all read, also by a slow reader and
// also if the connection is gone by then.
func TestSessionSlowReader(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // within the window
	closed, gone := make(chan struct{}), make(chan struct{})
	s := accepted(t, func(s *fakeSession) {
		s.Write(payload)
		s.Close()
		<-closed
		s.conn.Close()
		close(gone)
	})
	if err := s.Refused(sshproxy.Node{}); err != nil { // waits until the channel is closed
		t.Error(err)
	}
	close(closed)
	<-gone
	b, err := io.ReadAll(slowReader{s})
	if err != nil || !bytes.Equal(b, payload) {
		t.Errorf("read %d of %d bytes, %v", len(b), len(payload), err)
	}
}

// slowReader reads in small pieces.
type slowReader struct{ io.Reader }

func (r slowReader) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), 100)]) }

// stall is a connection of which nothing is read any more once it is stopped.
type stall struct {
	net.Conn
	stopped atomic.Bool
	end     chan struct{}
}

func (c *stall) Read(p []byte) (int, error) {
	if c.stopped.Load() {
		<-c.end
	}
	return c.Conn.Read(p)
}

// Close ends what is under way, whatever that waits for.
func TestCloseUnblocks(t *testing.T) {
	check := func(t *testing.T, s *sshproxy.Session, use func() error) {
		t.Helper()
		ended := make(chan error, 1)
		go func() { ended <- use() }()
		time.Sleep(20 * time.Millisecond) // likely within use by now; right in any case
		closed := make(chan error, 1)
		go func() { closed <- s.Close() }()
		for what, c := range map[string]chan error{"Close": closed, "the blocked call": ended} {
			select {
			case err := <-c:
				if what != "Close" && err == nil {
					t.Error("the call that was cut off reports success")
				}
			case <-time.After(bound):
				t.Fatalf("%s hangs", what)
			}
		}
		s.Close() // again
	}
	write := func(s *sshproxy.Session) func() error {
		return func() error { _, err := s.Write(make([]byte, 8<<20)); return err }
	}
	t.Run("read", func(t *testing.T) {
		s := accepted(t, func(*fakeSession) {})
		check(t, s, func() error { _, err := s.Read(make([]byte, 1)); return err })
	})
	t.Run("write, window used up", func(t *testing.T) {
		s := accepted(t, func(*fakeSession) {})
		check(t, s, write(s))
	})
	t.Run("write, connection full", func(t *testing.T) {
		client, server := tcpPair(t)
		client.SetWriteBuffer(4 << 10)
		server.SetReadBuffer(4 << 10)
		c := &stall{Conn: server, end: make(chan struct{})}
		f := &fake{session: func(s *fakeSession) { c.stopped.Store(true); s.request.Reply(true, nil) }}
		f.serveConn(t, c)
		t.Cleanup(func() { close(c.end) })
		s, err := sshproxy.Open(t.Context(), client, options(t))
		if err != nil {
			t.Fatal(err)
		}
		check(t, s, write(s))
	})
}
