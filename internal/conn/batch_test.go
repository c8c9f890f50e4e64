package conn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// batchedPair is tlsPair with a *TLS at the client's end.
func batchedPair(t testing.TB) (net.Conn, net.Conn) {
	a, b := tcpPair(t)
	return handshaken(t, a, b)
}

// nestedPair is a TLS connection within another.
func nestedPair(t testing.TB) (net.Conn, net.Conn) {
	a, b := batchedPair(t)
	return handshaken(t, a, b)
}

func handshaken(t testing.TB, a, b net.Conn) (*TLS, *tls.Conn) {
	t.Helper()
	server := tls.Server(b, serverTLS(t))
	below := NewBatch(a)
	client := NewTLS(tls.Client(below, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true}), below)
	done := make(chan error, 1)
	go func() { done <- server.HandshakeContext(t.Context()) }()
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client, server
}

// counted notes the lengths of writes, and fails from a given byte on.
type counted struct {
	net.Conn
	writes []int
	left   int
}

func (c *counted) Write(p []byte) (int, error) {
	c.writes = append(c.writes, len(p))
	if n := c.left; n < len(p) {
		c.left = 0
		return n, os.ErrClosed
	}
	c.left -= len(p)
	return c.Conn.Write(p)
}

// A Write of many records is one write of the socket, and all of it has left
// when Write returns.
func TestTLSWrite(t *testing.T) {
	a, b := tcpPair(t)
	below := &counted{Conn: a, left: 1 << 30}
	client, server := handshaken(t, below, b)
	for _, size := range []int{1, maxRecord, maxRecord + 1, batchSize, 5 * batchSize} {
		below.writes = nil
		p := bytes.Repeat([]byte("abc"), size)[:size]
		if n, err := client.Write(p); n != size || err != nil {
			t.Fatal(n, err)
		}
		if want := (size + batchSize - 1) / batchSize; len(below.writes) != want {
			t.Errorf("%d bytes: %d writes, want %d", size, len(below.writes), want)
		}
		got := make([]byte, size)
		if _, err := io.ReadFull(server, got); err != nil || !bytes.Equal(got, p) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if client.below.out != nil {
		t.Error("an idle connection keeps its buffer")
	}
}

// A failure shows in the Write that it happened in, with the records that went
// out whole, and in every later one.
func TestTLSWriteFails(t *testing.T) {
	const overhead = 5 + 1 + 16 // of a record (RFC 8446, section 5.2)
	for _, tt := range []struct{ size, left, want int }{
		{batchSize, 0, 0},
		{batchSize, maxRecord, 0},
		{batchSize, 2*(maxRecord+overhead) + 7, 2 * maxRecord},
		{3 * batchSize, 5 * (maxRecord + overhead), 5 * maxRecord},
		{100, 50, 0},
	} {
		a, b := tcpPair(t)
		below := &counted{Conn: a, left: 1 << 30}
		client, _ := handshaken(t, below, b)
		below.left = tt.left
		if n, err := client.Write(make([]byte, tt.size)); n != tt.want || !errors.Is(err, os.ErrClosed) {
			t.Errorf("%+v: wrote %d, %v", tt, n, err)
		}
		below.left = 1 << 30
		if n, err := client.Write([]byte("x")); n != 0 || err == nil {
			t.Errorf("%+v: then %d, %v", tt, n, err)
		}
	}
}

// Close cuts off a Write that is stuck.
func TestTLSCloseWhileStuck(t *testing.T) {
	client, _ := batchedPair(t)
	stuck := make(chan error, 1)
	go func() { _, err := client.Write(make([]byte, 64<<20)); stuck <- err }()
	for !client.(*TLS).below.sending.Load() {
		runtime.Gosched()
	}
	start := time.Now()
	client.Close()
	if err := <-stuck; err == nil {
		t.Error("the Write succeeded")
	}
	if took := time.Since(start); took > 4*time.Second { // tls.Conn waits for 5 s for its close_notify
		t.Errorf("took %v", took)
	}
}

// Whatever layers there are: an idle connection holds no buffer.
func TestIdleHoldsNoBuffer(t *testing.T) {
	for name, pair := range map[string]func(testing.TB) (net.Conn, net.Conn){"batched": batchedPair, "nested": nestedPair} {
		t.Run(name, func(t *testing.T) {
			c, far := pair(t)
			far.Write([]byte("hello"))
			s := newSource(c)
			buf, n, err := s.next()
			if err != nil || string((*buf)[:n]) != "hello" {
				t.Fatal(n, err)
			}
			if buf, n, err := s.now(); buf != nil || n != 0 || err != nil {
				t.Fatalf("something out of nothing: %v %d %v", buf, n, err)
			}
			if s.below == nil || s.below.in != nil {
				t.Error("the socket's buffer is kept")
			}
		})
	}
}

// All that has come is one batch, and a wait ends with the first record.
func TestSourceGathers(t *testing.T) {
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			c, far := pair(t)
			want := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
			go func() {
				for p := want; len(p) > 0; p = p[1000:] {
					if len(p) < 1000 {
						far.Write(p)
						break
					}
					far.Write(p[:1000])
				}
				CloseWrite(far)
			}()
			var got []byte
			for s := newSource(c); ; {
				buf, n, err := s.next()
				if buf != nil {
					got = append(got, (*buf)[:n]...)
					buffers.Put(buf)
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got %d bytes, or others, want %d", len(got), len(want))
			}
		})
	}
}

// late becomes Polled after its first Read.
type late struct {
	net.Conn
	read bool
}

func (l *late) Read(p []byte) (int, error) { l.read = true; return l.Conn.Read(p) }

func (l *late) Polled() net.Conn {
	if l.read {
		return l.Conn
	}
	return nil
}

func TestSourceOnALatePolled(t *testing.T) {
	c, far := batchedPair(t)
	s := newSource(&late{Conn: c})
	for _, polled := range []bool{false, true} {
		far.Write([]byte("x"))
		buf, n, err := s.next()
		if err != nil || n != 1 || (s.below != nil) != polled {
			t.Errorf("%d bytes, %v; below %v", n, err, s.below)
		}
		buffers.Put(buf)
	}
}

// A deadline interrupts the wait and does no harm to what comes later.
func TestSourceDeadline(t *testing.T) {
	for name, pair := range pairs {
		t.Run(name, func(t *testing.T) {
			c, far := pair(t)
			s := newSource(c)
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, n, err := s.next(); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%d bytes, %v", n, err)
			}
			c.SetReadDeadline(time.Time{})
			far.Write([]byte("later"))
			if buf, n, err := s.next(); err != nil || string((*buf)[:n]) != "later" {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

// Readers that take nothing cost a bounded amount of memory.
func TestSlowReaders(t *testing.T) {
	const conns, most = 20, 512 << 10 // bytes for each, in all buffers of both directions
	var ms runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&ms)
	before := ms.HeapAlloc
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var written atomic.Int64
	var clients []net.Conn
	for range conns {
		client, local := tcpPair(t)
		remote, server := batchedPair(t)
		client.(*net.TCPConn).SetReadBuffer(64 << 10) // the kernel's are soon full
		server.(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn).SetWriteBuffer(64 << 10)
		clients = append(clients, client)
		wg.Go(func() { Splice(ctx, local, remote) })
		wg.Go(func() {
			for {
				n, err := server.Write(zeros[:])
				if written.Add(int64(n)); err != nil {
					return
				}
			}
		})
	}
	for _, c := range clients { // each has something to read, and reads on slowly
		if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
			t.Error(err)
		}
	}
	for last := int64(-1); last != written.Load(); { // until all buffers are full
		last = written.Load()
		time.Sleep(200 * time.Millisecond) // in which a running copy moves something
	}
	runtime.GC()
	runtime.ReadMemStats(&ms)
	if grown := int64(ms.HeapAlloc) - int64(before); grown > conns*most {
		t.Errorf("%d bytes for each connection", grown/conns)
	}
	cancel()
	wg.Wait()
}

var zeros [64 << 10]byte
