package accept

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// flaky is a listener whose Accept gives the results in the list, and then
// waits for Close.
type flaky struct {
	results []any // error or net.Conn
	*Queue
}

func (l *flaky) Accept() (net.Conn, error) {
	if len(l.results) == 0 {
		return l.Queue.Accept()
	}
	r := l.results[0]
	l.results = l.results[1:]
	if err, ok := r.(error); ok {
		return nil, err
	}
	return r.(net.Conn), nil
}

// Errors that pass are waited out, ever longer, and a connection ends that.
func TestLoopBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := errors.New("too many open files")
		c, _ := net.Pipe()
		var results []any
		for range 10 {
			results = append(results, busy)
		}
		results = append(results, c, busy, c)
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var at []time.Duration
		err := Loop(ctx, &flaky{results, NewQueue(nil)}, func(net.Conn) {
			if at = append(at, time.Since(start)); len(at) == 2 {
				cancel()
			}
		})
		if err != nil {
			t.Error(err)
		}
		// 5+10+20+40+80+160+320+640 ms and twice the most, a second; then 5 ms again.
		first := 1275*time.Millisecond + 2*time.Second
		if len(at) != 2 || at[0] != first || at[1] != first+5*time.Millisecond {
			t.Errorf("accepted at %v", at)
		}
	})
}

func TestLoopEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(cancel func(), ln net.Listener)
	}{
		{"context", func(cancel func(), _ net.Listener) { cancel() }},
		{"listener", func(_ func(), ln net.Listener) { ln.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- Loop(ctx, ln, func(c net.Conn) { c.Close() }) }()
			tt.end(cancel, ln)
			if err := <-done; err != nil {
				t.Error(err)
			}
			if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the listener is still open: %v", err)
			}
		})
	}
}

func TestSet(t *testing.T) {
	var s Set
	serve := func(c net.Conn) { io.Copy(io.Discard, c); c.Close() }
	a, b := net.Pipe()
	s.Go(a, serve)
	if n := s.Len(); n != 1 {
		t.Errorf("%d open, want 1", n)
	}
	s.CloseConns()
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read after CloseConns: %v", err)
	}
	s.Wait()

	c, d := net.Pipe()
	s.Go(c, serve)
	d.Close() // the peer ends it
	s.Wait()
	if n := s.Len(); n != 0 {
		t.Errorf("%d open, want none", n)
	}

	s.Close()
	e, f := net.Pipe()
	s.Go(e, func(net.Conn) { t.Error("served by a closed set") })
	if _, err := f.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read after Close: %v", err)
	}
}

// A connection that somebody else took over is still the set's to close.
func TestSetHandedOver(t *testing.T) {
	var s Set
	a, b := net.Pipe()
	s.Go(a, func(net.Conn) {})
	s.Wait()
	if n := s.Len(); n != 1 {
		t.Errorf("%d open, want 1", n)
	}
	s.Close()
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read after Close: %v", err)
	}
}

func TestQueue(t *testing.T) {
	q := NewQueue(&net.TCPAddr{Port: 1})
	if q.Addr().String() != ":1" {
		t.Errorf("address %v", q.Addr())
	}
	a, _ := net.Pipe()
	put := make(chan error, 1)
	go func() { put <- q.Put(t.Context(), a) }()
	if c, err := q.Accept(); c != a || err != nil || <-put != nil {
		t.Errorf("accepted %v, %v", c, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b, peer := net.Pipe()
	if err := q.Put(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("put after the context's end: %v", err)
	}
	if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("not closed: %v", err)
	}

	q.Close()
	q.Close()
	if _, err := q.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after Close: %v", err)
	}
	if err := q.Put(t.Context(), a); !errors.Is(err, net.ErrClosed) {
		t.Errorf("put after Close: %v", err)
	}
}
