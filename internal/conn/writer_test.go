//go:build unix

package conn_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"tshx/internal/conn"
)

// sockets returns both ends of a TCP connection.
func sockets(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return c.(*net.TCPConn), p.(*net.TCPConn)
}

// Short writes go past package net. They still wait for a reader who is late,
// and count and deliver every byte.
func TestWriterWaits(t *testing.T) {
	near, far := sockets(t)
	w := conn.Writer(near)
	part := bytes.Repeat([]byte("0123456789abcdef"), 512)
	near.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	var sent int
	var err error
	for err == nil { // until there is no room
		var n int
		n, err = w.Write(part[sent%len(part):])
		sent += n
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	near.SetWriteDeadline(time.Time{})
	rest := part[sent%len(part):]
	sent += len(rest)
	done := make(chan error, 1)
	go func() {
		_, err := w.Write(rest) // waits
		near.CloseWrite()
		done <- err
	}()
	got, err := io.ReadAll(far)
	if want := bytes.Repeat(part, sent/len(part)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes of %d, or others: %v", len(got), sent, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A failed write says what that of the connection itself would say.
func TestWriterError(t *testing.T) {
	for name, breakIt := range map[string]func(near, far *net.TCPConn){
		"closed here":  func(near, _ *net.TCPConn) { near.Close() },
		"half-closed":  func(near, _ *net.TCPConn) { near.CloseWrite() },
		"out of time":  func(near, _ *net.TCPConn) { near.SetWriteDeadline(time.Unix(1, 0)) },
		"reset by far": func(near, far *net.TCPConn) { far.SetLinger(0); far.Close(); near.Read(make([]byte, 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			near, far := sockets(t)
			breakIt(near, far)
			_, want := near.Write([]byte("x"))
			n, err := conn.Writer(near).Write([]byte("x"))
			if n != 0 || err == nil || want == nil || err.Error() != want.Error() {
				t.Errorf("%d, %v, want %v", n, err, want)
			}
			for _, target := range []error{net.ErrClosed, os.ErrDeadlineExceeded} {
				if errors.Is(err, target) != errors.Is(want, target) {
					t.Errorf("is %v: %v", target, errors.Is(err, target))
				}
			}
			if conn.PeerGone(err) != conn.PeerGone(want) {
				t.Errorf("the peer is gone: %v", conn.PeerGone(err))
			}
		})
	}
}
