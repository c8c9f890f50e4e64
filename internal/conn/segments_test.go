package conn

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// chopped joins two socket pairs by a network that cuts what it carries in
// pieces of any length, often of one byte.
func chopped(t testing.TB, pair func(testing.TB) (net.Conn, net.Conn)) (net.Conn, net.Conn) {
	near, a := pair(t)
	b, far := pair(t)
	chop := func(to, from net.Conn, rnd *rand.Rand) {
		defer CloseWrite(to)
		buf := make([]byte, 40_000)
		for {
			n, err := from.Read(buf[:1+rnd.IntN(len(buf))])
			for p := buf[:n]; len(p) > 0; {
				m := min(len(p), 1+rnd.IntN(9))
				if rnd.IntN(4) > 0 {
					m = min(len(p), 1+rnd.IntN(20_000))
				}
				if _, err := to.Write(p[:m]); err != nil {
					return
				}
				p = p[m:]
			}
			if err != nil {
				return
			}
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var wg sync.WaitGroup
	wg.Go(func() { chop(b, a, rand.New(rand.NewPCG(seed, 1))) })
	wg.Go(func() { chop(a, b, rand.New(rand.NewPCG(seed, 2))) })
	t.Cleanup(func() { a.Close(); b.Close(); wg.Wait() })
	return near, far
}

// unixPair is connected over a Unix socket.
func unixPair(t testing.TB) (net.Conn, net.Conn) {
	dir, err := os.MkdirTemp("", "") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// secured puts TLS of one version on a pair, in as many layers as asked for.
func secured(version uint16, layers int, pair func(testing.TB) (net.Conn, net.Conn)) func(testing.TB) (net.Conn, net.Conn) {
	return func(t testing.TB) (net.Conn, net.Conn) {
		a, b := pair(t)
		for range layers {
			below := NewBatch(a)
			client := NewTLS(tls.Client(below, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true, MaxVersion: version}), below)
			server := tls.Server(b, serverTLS(t))
			done := make(chan error, 1)
			go func() { done <- server.Handshake() }()
			if err := errors.Join(client.HandshakeContext(t.Context()), <-done); err != nil {
				t.Fatal(err)
			}
			a, b = client, server
		}
		return a, b
	}
}

// However a network cuts a stream up: both directions arrive whole and end on
// their own, whichever is the longer one.
func TestSpliceSegments(t *testing.T) {
	cut := func(pair func(testing.TB) (net.Conn, net.Conn)) func(testing.TB) (net.Conn, net.Conn) {
		return func(t testing.TB) (net.Conn, net.Conn) { return chopped(t, pair) }
	}
	for name, pair := range map[string]func(testing.TB) (net.Conn, net.Conn){
		"tcp": cut(tcpPair), "unix": cut(unixPair),
		"tls 1.2": secured(tls.VersionTLS12, 1, cut(tcpPair)), "tls 1.3": secured(tls.VersionTLS13, 1, cut(tcpPair)),
		"tls 1.2 twice": secured(tls.VersionTLS12, 2, cut(tcpPair)), "tls 1.3 thrice": secured(tls.VersionTLS13, 3, cut(tcpPair)),
		"tls on unix": secured(tls.VersionTLS13, 1, cut(unixPair)),
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				client, server, done := spliced(t, t.Context(), pair)
				up, down := make([]byte, rand.IntN(300_000)), make([]byte, rand.IntN(300_000))
				var wg sync.WaitGroup
				for _, way := range []struct {
					to, from Stream
					data     []byte
				}{{client, server, up}, {server, client, down}} {
					for i := range way.data {
						way.data[i] = byte(rand.Uint32())
					}
					wg.Go(func() { feed(t, way.to, way.data) })
					wg.Go(func() {
						if got, err := io.ReadAll(way.from); err != nil || !bytes.Equal(got, way.data) {
							t.Errorf("%d bytes of %d, or others: %v", len(got), len(way.data), err)
						}
					})
				}
				wg.Wait()
				if r := <-done; r.err != nil || r.Sent != int64(len(up)) || r.Received != int64(len(down)) {
					t.Errorf("Splice = %+v", r)
				}
			}
		})
	}
}

// feed writes p in pieces and half-closes.
func feed(t *testing.T, to Stream, p []byte) {
	for len(p) > 0 {
		n := min(len(p), 1+rand.IntN(1+rand.IntN(100_000)))
		if _, err := to.Write(p[:n]); err != nil {
			t.Error(err)
			return
		}
		p = p[n:]
	}
	if err := to.CloseWrite(); err != nil {
		t.Error(err)
	}
}
