package upgrade

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// canned is a connection that yields in and keeps what is written.
type canned struct {
	net.Conn // nil: other methods are not called
	in       io.Reader
	out      bytes.Buffer
	writes   []int // the length of each write
	closed   int
}

func (c *canned) Read(p []byte) (int, error) { return c.in.Read(p) }

func (c *canned) Write(p []byte) (int, error) {
	c.writes = append(c.writes, len(p))
	return c.out.Write(p)
}
func (c *canned) Close() error { c.closed++; return nil }

func frame(payload string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(payload)))) + payload
}

const emptyFrame = "\x00\x00\x00\x00"

func TestPingRead(t *testing.T) {
	for _, tc := range []struct {
		name, in, want string
		err            error // nil stands for an orderly end
	}{
		{"nothing", "", "", nil},
		{"one frame", frame("hello"), "hello", nil},
		{"pings around", emptyFrame + emptyFrame + frame("a") + emptyFrame + frame("b") + emptyFrame, "ab", nil},
		{"end within a header", frame("a") + "\x00\x00", "a", io.ErrUnexpectedEOF},
		{"end within a payload", "\x00\x00\x00\x05hel", "hel", io.ErrUnexpectedEOF},
		{"end behind a header", "\x00\x00\x00\x05", "", io.ErrUnexpectedEOF},
		{"the longest frame", "\xff\xff\xff\xffx", "x", io.ErrUnexpectedEOF},
	} {
		for reads, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader, "data with error": iotest.DataErrReader,
		} {
			t.Run(tc.name+"/"+reads, func(t *testing.T) {
				c := NewPingConn(&canned{in: wrap(bytes.NewReader([]byte(tc.in)))})
				got, err := io.ReadAll(c)
				if string(got) != tc.want || !errors.Is(err, tc.err) {
					t.Errorf("got %q, %v, want %q, %v", got, err, tc.want, tc.err)
				}
			})
		}
	}
}

// TestPingReadParts reads a frame in pieces that are smaller than it.
func TestPingReadParts(t *testing.T) {
	c := NewPingConn(&canned{in: bytes.NewReader([]byte(frame("abcde") + frame("fg")))})
	var got []string
	for {
		p := make([]byte, 2)
		n, err := c.Read(p)
		if err == io.EOF {
			break
		}
		must(t, err)
		got = append(got, string(p[:n]))
	}
	if diff := cmp.Diff([]string{"ab", "cd", "e", "fg"}, got); diff != "" {
		t.Error(diff)
	}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("empty read: %d, %v", n, err)
	}
}

// TestPingReadAllocates checks that an announced length costs no memory.
func TestPingReadAllocates(t *testing.T) {
	c := NewPingConn(&canned{in: io.MultiReader(bytes.NewReader([]byte("\xff\xff\xff\xff")), endless{})})
	p := make([]byte, 1<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if n, err := c.Read(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d bytes allocated", grown)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestPingReadResumes interrupts a header by a deadline and reads on.
func TestPingReadResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := NewPingConn(a)
		defer c.Close()
		defer b.Close()
		go b.Write([]byte("\x00\x00"))
		c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Time{})
		go b.Write([]byte("\x00\x02ok"))
		got := make([]byte, 2)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "ok" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestPingWrite(t *testing.T) {
	below := &canned{}
	c := NewPingConn(below)
	if n, err := c.Write(nil); n != 0 || err != nil || below.out.Len() != 0 {
		t.Fatalf("empty write: %d, %v, sent %x", n, err, below.out.Bytes())
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 9<<10) // 144 KiB
	n, err := c.Write(big)
	if n != len(big) || err != nil {
		t.Fatal(n, err)
	}
	// Header and payload go out in one piece.
	if diff := cmp.Diff([]int{4 + 64<<10, 4 + 64<<10, 4 + 16<<10}, below.writes); diff != "" {
		t.Error(diff)
	}
	got, err := io.ReadAll(NewPingConn(&canned{in: &below.out}))
	if err != nil || !bytes.Equal(got, big) {
		t.Errorf("read %d bytes back, %v", len(got), err)
	}
}

// TestPingWriteCut cuts a frame by a deadline: a later write would land in it.
func TestPingWriteCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := NewPingConn(a)
		defer c.Close()
		defer b.Close()
		go io.ReadFull(b, make([]byte, pingHeader+3))
		c.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := c.Write([]byte("hello")); n != 3 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(n, err)
		}
		c.SetWriteDeadline(time.Time{})
		go io.Copy(io.Discard, b)
		if n, err := c.Write([]byte("x")); n != 0 || err == nil {
			t.Errorf("write behind a cut frame: %d, %v", n, err)
		}
	})
}

func TestPingCloses(t *testing.T) {
	below := &canned{}
	c := NewPingConn(below)
	c.Close()
	c.Close()
	if below.closed != 2 {
		t.Errorf("closed %d times", below.closed)
	}
	if c.NetConn() != net.Conn(below) {
		t.Error("NetConn is not what was framed")
	}
	var half halfCloser
	must(t, NewPingConn(&half).CloseWrite())
	if half.n != 1 {
		t.Error("CloseWrite did not pass through")
	}
}

type halfCloser struct {
	net.Conn
	n int
}

func (h *halfCloser) CloseWrite() error { h.n++; return nil }

// TestPings checks the clock of the pings and who ends them.
func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := NewPingConn(a)
		start := time.Now()
		c.StartPings(30 * time.Second)
		for i := range 3 {
			got := make([]byte, pingHeader)
			_, err := io.ReadFull(b, got)
			must(t, err)
			if string(got) != emptyFrame || time.Since(start) != time.Duration(i+1)*30*time.Second {
				t.Errorf("ping %d: %x after %v", i, got, time.Since(start))
			}
		}
		c.Close() // synctest fails when the goroutine stays
	})
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := NewPingConn(a)
		c.StartPings(time.Second)
		b.Close()
		time.Sleep(2 * time.Second) // a write fails and ends the pings
		synctest.Wait()
		c.Close()
	})
}

// TestPingsAmongWrites lets pings and concurrent writers share a connection.
func TestPingsAmongWrites(t *testing.T) {
	a, b := net.Pipe()
	c, s := NewPingConn(a), NewPingConn(b)
	defer s.Close()
	c.StartPings(50 * time.Microsecond)
	var wg sync.WaitGroup
	const writers, writes = 4, 200
	for w := range writers {
		wg.Go(func() {
			line := bytes.Repeat([]byte{'a' + byte(w)}, 999)
			for range writes {
				c.Write(line)
			}
		})
	}
	go func() { wg.Wait(); c.Close() }()
	var counts [writers]int
	line := make([]byte, 999)
	for {
		if _, err := io.ReadFull(s, line); err != nil {
			break
		}
		if n := bytes.Count(line, line[:1]); n != len(line) {
			t.Fatalf("writes are mixed: %q", line)
		}
		counts[line[0]-'a']++
	}
	if counts != [writers]int{writes, writes, writes, writes} {
		t.Errorf("got %v lines", counts)
	}
}

func FuzzPingFrames(f *testing.F) {
	f.Add([]byte(frame("hello")+emptyFrame+frame("x")), uint8(3))
	f.Add([]byte("\xff\xff\xff\xff"), uint8(0))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		// Whatever comes in, the reader agrees with a simple parser.
		want, wantErr := parseFrames(in)
		got, err := readAllIn(NewPingConn(&canned{in: bytes.NewReader(in)}), int(size)+1)
		if !bytes.Equal(got, want) || err != wantErr {
			t.Fatalf("read %q, %v, want %q, %v", got, err, want, wantErr)
		}
		// What goes out comes back.
		below := &canned{}
		w := NewPingConn(below)
		for part := range slices.Chunk(in, int(size)*300+1) {
			if n, err := w.Write(part); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		back, err := io.ReadAll(NewPingConn(&canned{in: &below.out}))
		if err != nil || !bytes.Equal(back, in) {
			t.Fatalf("round trip of %d bytes: %d, %v", len(in), len(back), err)
		}
	})
}

func parseFrames(in []byte) ([]byte, error) {
	var out []byte
	for len(in) > 0 {
		if len(in) < pingHeader {
			return out, io.ErrUnexpectedEOF
		}
		n := uint64(binary.BigEndian.Uint32(in))
		if in = in[pingHeader:]; n > uint64(len(in)) {
			return append(out, in...), io.ErrUnexpectedEOF
		}
		out, in = append(out, in[:n]...), in[n:]
	}
	return out, nil
}

// readAllIn reads to the end in pieces of size.
func readAllIn(r io.Reader, size int) ([]byte, error) {
	var out []byte
	p := make([]byte, size)
	for {
		n, err := r.Read(p)
		out = append(out, p[:n]...)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

func BenchmarkPingFrames(b *testing.B) {
	c, s := tcpPair(b)
	benchStream(b, NewPingConn(c), NewPingConn(s))
}

// BenchmarkBare is the measure for the other two: the same bytes unframed.
func BenchmarkBare(b *testing.B) {
	c, s := tcpPair(b)
	benchStream(b, c, s)
}

// benchStream sends 32 KiB writes from one end to the other.
func benchStream(b *testing.B, from, to net.Conn) {
	piece := make([]byte, 32<<10)
	done := make(chan int64)
	go func() {
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, to, make([]byte, 32<<10))
		done <- n
	}()
	b.SetBytes(int64(len(piece)))
	b.ReportAllocs()
	sent := int64(0)
	for b.Loop() {
		n, err := from.Write(piece)
		if sent += int64(n); err != nil {
			b.Fatal(err)
		}
	}
	from.Close()
	if got := <-done; got != sent {
		b.Fatalf("sent %d, got %d", sent, got)
	}
}

func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln := listen(t)
	client, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	server, err = ln.Accept()
	must(t, err)
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}
