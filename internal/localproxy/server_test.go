package localproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tshx/internal/conn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type handlerFunc func(context.Context, net.Conn)

func (f handlerFunc) ServeConn(ctx context.Context, c net.Conn) { f(ctx, c) }

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := Listen("127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func dial(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// flaky fails the first Accepts as a full descriptor table does.
type flaky struct {
	net.Listener
	failures int
}

func (l *flaky) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestServeOutlivesAcceptErrors(t *testing.T) {
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := &Server{Handler: handlerFunc(func(_ context.Context, c net.Conn) { io.WriteString(c, "ok"); c.Close() })}
	go func() { done <- s.Serve(ctx, &flaky{ln, 3}) }()
	if b, err := io.ReadAll(dial(t, ln)); err != nil || string(b) != "ok" {
		t.Errorf("read %q, %v", b, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func TestServeDrains(t *testing.T) {
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	accepted := make(chan struct{})
	draining := make(chan int, 1)
	s := &Server{
		Handler: handlerFunc(func(_ context.Context, c net.Conn) {
			close(accepted)
			io.Copy(c, c)
			c.Close()
		}),
		Draining: func(open int) { draining <- open },
	}
	go func() { done <- s.Serve(ctx, ln) }()
	c := dial(t, ln)
	<-accepted
	cancel()
	if open := <-draining; open != 1 {
		t.Errorf("draining %d, want 1", open)
	}
	// The open connection still works; a new one is refused.
	io.WriteString(c, "last words")
	c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "last words" {
		t.Errorf("read %q, %v", b, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("still listening after the drain")
	}
}

func TestServeCutsAfterDrain(t *testing.T) {
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	cause := make(chan error, 1)
	accepted := make(chan struct{})
	cutOff := make(chan int, 1)
	s := &Server{Drain: time.Millisecond, Cut: func(n int) { cutOff <- n }, Handler: handlerFunc(func(ctx context.Context, c net.Conn) {
		close(accepted)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		c.Close()
	})}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	dial(t, ln)
	<-accepted
	cancel()
	if err := <-cause; !errors.Is(err, ErrCut) {
		t.Errorf("cause = %v, want %v", err, ErrCut)
	}
	if n := <-cutOff; n != 1 {
		t.Errorf("cut %d, want 1", n)
	}
	if err := <-done; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

func TestServeClosedListener(t *testing.T) {
	ln := listen(t)
	ln.Close()
	if err := (&Server{}).Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v, want %v", err, net.ErrClosed)
	}
}

// A failed dial ends its own connection; the next one works.
func TestTunnelOneFailedDial(t *testing.T) {
	ln := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	refusal := errors.New("upstream is down")
	reported := make(chan error, 1)
	var n atomic.Int32
	tun := &Tunnel{
		Dial: func(_ context.Context, client net.Conn) (net.Conn, net.Conn, error) {
			if n.Add(1) == 1 {
				return nil, nil, refusal
			}
			a, b := net.Pipe()
			go func() { io.WriteString(b, "welcome"); b.Close() }()
			return client, a, nil
		},
		Failed: func(c net.Conn, err error) { io.WriteString(c, "sorry: "+err.Error()) },
		Report: func(err error) { reported <- err },
	}
	done := make(chan error, 1)
	go func() { done <- (&Server{Handler: tun}).Serve(ctx, ln) }()
	for _, want := range []string{"sorry: upstream is down", "welcome"} {
		c := dial(t, ln)
		buf := make([]byte, len(want))
		if _, err := io.ReadFull(c, buf); err != nil || string(buf) != want {
			t.Errorf("read %q, %v, want %q", buf, err, want)
		}
		c.Close()
	}
	if err := <-reported; !errors.Is(err, refusal) {
		t.Errorf("reported %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// A server that breaks off is told about; a client that does is not.
func TestTunnelReportsTheServersReset(t *testing.T) {
	for name, tt := range map[string]struct {
		server bool
	}{"server resets": {true}, "client resets": {false}} {
		t.Run(name, func(t *testing.T) {
			upstream, local := listen(t), listen(t)
			defer upstream.Close()
			defer local.Close()
			reported := make(chan error, 1)
			tun := &Tunnel{
				Dial: func(_ context.Context, client net.Conn) (net.Conn, net.Conn, error) {
					up, err := net.Dial("tcp", upstream.Addr().String())
					return client, up, err
				},
				Report: func(err error) { reported <- err },
			}
			client := dial(t, local)
			accepted, err := local.Accept()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				c, err := upstream.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, "part")
				io.ReadFull(client, make([]byte, 4))
				if tt.server {
					conn.Abort(c)
					return
				}
				conn.Abort(client)
				io.Copy(io.Discard, c)
				c.Close()
			}()
			tun.ServeConn(t.Context(), accepted)
			select {
			case err := <-reported:
				if !tt.server {
					t.Errorf("reported %v", err)
				}
			default:
				if tt.server {
					t.Error("not reported")
				}
			}
		})
	}
}
