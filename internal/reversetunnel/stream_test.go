package reversetunnel

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/conn"
)

// opened is a world with a stream to its node.
func openedTo(t *testing.T, backend func(net.Conn)) (*world, *proxyTunnel, *Stream) {
	w := newWorld(t, backend)
	w.run()
	tunnel := w.proxy.tunnel()
	s, err := tunnel.open(t.Context(), node("node1"))
	must(t, err)
	return w, tunnel, s
}

// Bytes arrive whole both ways, and each direction ends by itself.
func TestStreamCarries(t *testing.T) {
	w, _, s := openedTo(t, echo)
	defer w.end()
	data := make([]byte, 5<<20)
	rand.Read(data)
	go func() {
		s.Write(data)
		s.CloseWrite()
	}()
	back, err := io.ReadAll(s)
	if err != nil || sha256.Sum256(back) != sha256.Sum256(data) {
		t.Errorf("%d bytes of %d came back: %v", len(back), len(data), err)
	}
	must(t, s.Close())
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
}

// A service that has said all may still listen.
func TestStreamHalfCloseFromBehind(t *testing.T) {
	heard := make(chan string, 1)
	w, _, s := openedTo(t, func(c net.Conn) {
		io.WriteString(c, "done")
		conn.CloseWrite(c)
		b, _ := io.ReadAll(c)
		heard <- string(b)
		c.Close()
	})
	defer w.end()
	if b, err := io.ReadAll(s); err != nil || string(b) != "done" {
		t.Fatalf("read %q, %v", b, err)
	}
	io.WriteString(s, "late words")
	s.CloseWrite()
	if got := within(t, "the late words", heard); got != "late words" {
		t.Errorf("the service heard %q", got)
	}
}

// A stream that breaks behind the agent does not look complete, whatever has come
// before.
func TestStreamBreaksBehind(t *testing.T) {
	for range 20 {
		w, _, s := openedTo(t, func(c net.Conn) {
			io.WriteString(c, "half a")
			io.ReadFull(c, make([]byte, 1)) // so that nothing is dropped by the reset
			conn.Abort(c)
		})
		if _, err := io.ReadFull(s, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		s.Write([]byte("x"))
		if b, err := io.ReadAll(s); !errors.Is(err, ErrBroken) {
			t.Errorf("read %q, %v, want it broken", b, err)
		}
		w.end()
	}
}

// One that is broken off by the proxy breaks at the service.
func TestStreamBrokenOff(t *testing.T) {
	ended := make(chan error, 1)
	w, _, s := openedTo(t, func(c net.Conn) {
		io.WriteString(c, "hello")
		_, err := io.Copy(io.Discard, c)
		ended <- err
		c.Close()
	})
	defer w.end()
	io.ReadFull(s, make([]byte, 5))
	conn.Abort(s)
	if err := within(t, "the end", ended); err == nil {
		t.Error("the service saw an orderly end")
	}
}

// The end of the tunnel is no end of its streams.
func TestStreamTunnelLost(t *testing.T) {
	for name, lose := range map[string]func(*proxyTunnel){
		"cut":    func(p *proxyTunnel) { p.wire.Conn.Close() },
		"closed": func(p *proxyTunnel) { p.wire.Close() },
		"silent": func(p *proxyTunnel) { p.wire.Break(&SilentError{}) },
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			w, tunnel, s := openedTo(t, func(c net.Conn) {
				io.WriteString(c, "hello")
				_, err := io.Copy(io.Discard, c)
				ended <- err
				c.Close()
			})
			defer w.end()
			io.ReadFull(s, make([]byte, 5))
			lose(tunnel)
			if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF || !strings.Contains(err.Error(), "tunnel lost") {
				t.Errorf("read: %v", err)
			}
			if _, err := s.Write([]byte("x")); err == nil || err == io.EOF {
				t.Errorf("write: %v", err)
			}
			if err := within(t, "the service's end", ended); err == nil {
				t.Error("the service saw an orderly end")
			}
		})
	}
}

// http.Server and the fronts of databases need deadlines.
func TestStreamDeadlines(t *testing.T) {
	w, _, s := openedTo(t, echo)
	defer w.end()
	buf := make([]byte, 10)
	must(t, s.SetDeadline(time.Now().Add(10*time.Millisecond)))
	if _, err := s.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read: %v", err)
	}
	must(t, s.SetDeadline(time.Time{}))
	// What came for the Read that gave up is there for the next one.
	io.WriteString(s, "kept")
	if n, err := io.ReadAtLeast(s, buf, 4); err != nil || string(buf[:n]) != "kept" {
		t.Fatalf("read %q, %v", buf[:n], err)
	}
	// A Read that waits is woken.
	woken := make(chan error, 1)
	go func() { _, err := s.Read(buf); woken <- err }()
	s.SetReadDeadline(time.Unix(1, 0))
	if err := within(t, "the end of a Read", woken); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v", err)
	}
	s.SetReadDeadline(time.Time{})
	go func() { _, err := s.Read(buf); woken <- err }()
	s.Close()
	if err := within(t, "the end of a Read", woken); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read when closed: %v", err)
	}
}

// A write that nobody takes ends with its deadline.
func TestStreamWriteDeadline(t *testing.T) {
	hold := make(chan struct{})
	w, _, s := openedTo(t, func(c net.Conn) { <-hold; c.Close() })
	defer w.end()
	defer close(hold)
	s.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := s.Write(bytes.Repeat([]byte("x"), 64<<20)); err == nil {
		t.Error("64 MiB went where nobody reads")
	}
}

// slowOpener answers to the opening of a channel late.
type slowOpener struct {
	ssh.Conn
	after time.Duration
}

var errLate = errors.New("no such channel")

func (o slowOpener) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	time.Sleep(o.after)
	return nil, nil, errLate
}

// An answer may be late where it waits behind a lot of data, but not where nothing
// comes.
func TestOpenWaits(t *testing.T) {
	for name, busy := range map[string]bool{"busy": true, "silent": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := memory()
				w := NewWire(near)
				go io.Copy(io.Discard, w)
				defer w.Close()
				c := slowOpener{after: 4 * opening}
				if busy {
					go func() {
						for range 4 * opening / time.Second {
							far.Write([]byte("x"))
							time.Sleep(time.Second)
						}
					}()
				}
				start := time.Now()
				_, _, err := Open(t.Context(), c, w, ChannelTransport)
				took := time.Since(start)
				var silent *SilentError
				if busy && (err != errLate || took != c.after) || !busy && (!errors.As(err, &silent) || took != opening) {
					t.Errorf("%v after %v", err, took)
				}
				time.Sleep(c.after)
			})
		})
	}
}
