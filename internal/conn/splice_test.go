package conn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestSpliceCarriesBothWays(t *testing.T) {
	up := bytes.Repeat([]byte("request "), 200_000)
	down := bytes.Repeat([]byte("answer "), 300_000)
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			client, server, done := spliced(t, t.Context(), pair)
			go func() { client.Write(up); client.CloseWrite() }()
			go func() { server.Write(down); server.CloseWrite() }()
			atServer := make(chan []byte, 1)
			go func() { b, _ := io.ReadAll(server); atServer <- b }()
			got, err := io.ReadAll(client)
			if err != nil || !bytes.Equal(got, down) {
				t.Errorf("client read %d bytes, %v, want %d", len(got), err, len(down))
			}
			if b := <-atServer; !bytes.Equal(b, up) {
				t.Errorf("server read %d bytes, want %d", len(b), len(up))
			}
			r := <-done
			if r.err != nil || r.Sent != int64(len(up)) || r.Received != int64(len(down)) {
				t.Errorf("Splice = %+v", r)
			}
		})
	}
}

// The reply to a half-closed request must arrive, and the other way round.
func TestSpliceHalfClose(t *testing.T) {
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			client, server, done := spliced(t, t.Context(), pair)
			halfClose(t, client, server, "question")
			halfClose(t, server, client, "answer")
			if r := <-done; r.err != nil || r.RemoteFirst {
				t.Errorf("Splice = %+v", r)
			}
			client, server, done = spliced(t, t.Context(), pair)
			halfClose(t, server, client, "greeting")
			halfClose(t, client, server, "reply")
			if r := <-done; r.err != nil || !r.RemoteFirst {
				t.Errorf("Splice = %+v", r)
			}
		})
	}
}

func halfClose(t *testing.T, from, to Stream, msg string) {
	t.Helper()
	if _, err := io.WriteString(from, msg); err != nil {
		t.Fatal(err)
	}
	if err := from.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(to); err != nil || string(got) != msg {
		t.Fatalf("read %q, %v, want %q and end of stream", got, err, msg)
	}
}

// A stream that breaks must not look like one that is complete.
func TestSpliceResetIsNotAnEnd(t *testing.T) {
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			client, server, done := spliced(t, t.Context(), pair)
			io.WriteString(server, "part")
			if _, err := io.ReadFull(client, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			Abort(server.(net.Conn))
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("client reads %v, want a reset", err)
			}
			if r := <-done; !PeerGone(r.err) || !strings.Contains(r.err.Error(), "read from the proxy") {
				t.Errorf("Splice = %v", r.err)
			}
		})
	}
}

// A client that has half-closed and then goes for good did nothing wrong: there
// is nothing left to tell it.
func TestSpliceClientGoneAfterItsEnd(t *testing.T) {
	client, server, done := spliced(t, t.Context(), tcpPair)
	halfClose(t, client, server, "bye")
	Abort(client.(net.Conn))
	server.CloseWrite()
	if r := <-done; r.err != nil && !PeerGone(r.err) {
		t.Errorf("Splice = %v", r.err)
	}
}

func TestSpliceClientGone(t *testing.T) {
	client, server, done := spliced(t, t.Context(), tcpPair)
	Abort(client.(net.Conn))
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("server reads %v, want a reset", err)
	}
	if r := <-done; !PeerGone(r.err) {
		t.Errorf("Splice = %v", r.err)
	}
}

// A server says why and hangs up while the client is still sending: the words
// must arrive.
func TestSpliceDeliversLastWords(t *testing.T) {
	const words = "FATAL: disk full"
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				client, server, done := spliced(t, t.Context(), pair)
				go func() { // sends until it cannot
					for chunk := make([]byte, 64<<10); ; {
						if _, err := client.Write(chunk); err != nil {
							return
						}
					}
				}()
				io.ReadFull(server, make([]byte, 64<<10))
				io.WriteString(server, words)
				server.Close()
				got := make([]byte, len(words))
				if _, err := io.ReadFull(client, got); err != nil || string(got) != words {
					t.Fatalf("client read %q, %v", got, err)
				}
				client.Close()
				<-done
			}
		})
	}
}

func TestSpliceContext(t *testing.T) {
	cause := errors.New("drained")
	ctx, cancel := context.WithCancelCause(t.Context())
	client, _, done := spliced(t, ctx, tlsPair)
	cancel(cause)
	if r := <-done; !errors.Is(r.err, cause) {
		t.Errorf("Splice = %v, want %v", r.err, cause)
	}
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("the client's connection is still open")
	}
}

// memConn is one end of an in-memory connection that can half-close, for tests
// in a synctest bubble.
type memConn struct {
	net.Conn // nil: no addresses, no deadlines
	r        *io.PipeReader
	w        *io.PipeWriter
}

func memPair() (*memConn, *memConn) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	return &memConn{r: r1, w: w2}, &memConn{r: r2, w: w1}
}

func (c *memConn) Read(p []byte) (int, error)  { return c.r.Read(p) }
func (c *memConn) Write(p []byte) (int, error) { return c.w.Write(p) }
func (c *memConn) CloseWrite() error           { return c.w.Close() }
func (c *memConn) Close() error                { c.r.Close(); return c.w.Close() }

func TestSpliceLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, local := memPair()
		remote, server := memPair()
		done := make(chan result, 1)
		go func() {
			st, err := Splice(t.Context(), local, remote)
			done <- result{st, err}
		}()
		// A healthy connection may be silent for days.
		time.Sleep(48 * time.Hour)
		go io.Copy(io.Discard, server)
		pause, resume := make(chan struct{}), make(chan struct{})
		go func() { // reads, pauses, reads on
			buf := make([]byte, 1)
			for n := 0; ; n++ {
				if n == 10 {
					<-pause
					<-resume
				}
				if _, err := client.Read(buf); err != nil {
					return
				}
			}
		}()
		client.CloseWrite()
		// A half-closed one lives for as long as bytes move.
		for range 10 {
			time.Sleep(Linger - time.Second)
			if _, err := server.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		// A reader that takes its time is not silence.
		wrote := make(chan error, 1)
		close(pause)
		go func() { _, err := server.Write([]byte("y")); wrote <- err }()
		time.Sleep(3 * Linger)
		close(resume)
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		last := time.Now()
		r := <-done
		if !errors.Is(r.err, ErrLinger) || r.Received != 11 {
			t.Errorf("Splice = %+v", r)
		}
		if idle := time.Since(last); idle != Linger {
			t.Errorf("ended after %v idle, want %v", idle, Linger)
		}
		server.Close()
		client.Close()
	})
}

func BenchmarkSpliceTLS(b *testing.B) {
	remote, server := tlsPair(b)
	local, client := tcpPair(b)
	go Splice(b.Context(), local, remote)
	chunk := make([]byte, 1<<20)
	go func() {
		for {
			if _, err := server.Write(chunk); err != nil {
				return
			}
		}
	}()
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if _, err := io.ReadFull(client, chunk); err != nil {
			b.Fatal(err)
		}
	}
	Abort(client)
}
