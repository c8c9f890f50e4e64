package upgrade

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"tshx/internal/conn"
)

// serveUpgrade runs h behind TLS on loopback until the test ends.
func serveUpgrade(t testing.TB, h http.Handler) Target {
	t.Helper()
	ln := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	srv := &http.Server{Handler: h, TLSConfig: serverTLS(), BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.ServeTLS(ln, "", "")
	}()
	t.Cleanup(func() {
		cancel()
		srv.Close()
		<-done
	})
	return target(ln)
}

// connectVia makes a stream to h that ends with the test.
func connectVia(t testing.TB, h *Handler, kind Kind, method Method) net.Conn {
	t.Helper()
	c, used, err := serveUpgrade(t, h).Connect(t.Context(), kind, method)
	must(t, err)
	if method != Auto && used != method {
		t.Errorf("method %q instead of %q", used, method)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// passTo is a Serve that hands the stream to a test, which closes it.
func passTo(ch chan<- net.Conn) func(context.Context, net.Conn) {
	return func(_ context.Context, c net.Conn) { ch <- c }
}

// eachWay runs body over both methods and kinds.
func eachWay(t *testing.T, body func(t *testing.T, kind Kind, method Method)) {
	for _, method := range []Method{WebSocket, Legacy} {
		for _, kind := range []Kind{ALPN, ALPNPing} {
			t.Run(string(method)+"/"+string(kind), func(t *testing.T) { body(t, kind, method) })
		}
	}
}

// TestBulk sends 8 MiB each way at once, in writes of all sizes, with pings in
// between.
func TestBulk(t *testing.T) {
	eachWay(t, func(t *testing.T, kind Kind, method Method) {
		up := make(chan net.Conn, 1)
		c := connectVia(t, &Handler{Serve: passTo(up), PingInterval: time.Millisecond}, kind, method)
		s := <-up
		defer s.Close()
		const size = 8 << 20
		var wg sync.WaitGroup
		sums := make([][sha256.Size]byte, 4)
		send := func(to io.Writer, seed byte, sum *[sha256.Size]byte) {
			random := rand.NewChaCha8([32]byte{seed})
			lengths := rand.New(rand.NewPCG(1, uint64(seed)))
			h := sha256.New()
			buf := make([]byte, 100<<10)
			for left := size; left > 0; {
				p := buf[:min(left, 1+lengths.IntN(len(buf)))]
				random.Read(p)
				h.Write(p)
				if _, err := to.Write(p); err != nil {
					t.Error(err)
					return
				}
				left -= len(p)
			}
			h.Sum(sum[:0])
		}
		receive := func(from io.Reader, sum *[sha256.Size]byte) {
			h := sha256.New()
			if n, err := io.CopyN(h, from, size); err != nil {
				t.Errorf("%v after %d bytes", err, n)
			}
			h.Sum(sum[:0])
		}
		wg.Go(func() { send(c, 1, &sums[0]) })
		wg.Go(func() { receive(s, &sums[1]) })
		wg.Go(func() { send(s, 2, &sums[2]) })
		wg.Go(func() { receive(c, &sums[3]) })
		wg.Wait()
		if sums[0] != sums[1] || sums[2] != sums[3] || sums[0] == sums[2] {
			t.Errorf("checksums differ")
		}
	})
}

// TestHalfClose ends one direction of an inner TLS connection, then the other,
// each way around, and closes in either order.
func TestHalfClose(t *testing.T) {
	eachWay(t, func(t *testing.T, kind Kind, method Method) {
		for _, clientFirst := range []bool{true, false} {
			up := make(chan net.Conn, 1)
			c := connectVia(t, &Handler{Serve: passTo(up)}, kind, method)
			s := <-up
			_, pool := testCert()
			client := tls.Client(c, &tls.Config{ServerName: "proxy.test", RootCAs: pool})
			server := tls.Server(s, serverTLS())
			hs := make(chan error, 1)
			go func() { hs <- server.Handshake() }()
			must(t, client.Handshake())
			must(t, <-hs)

			first, second := client, server
			if !clientFirst {
				first, second = server, client
			}
			question, answer := bytes.Repeat([]byte("q"), 100_000), bytes.Repeat([]byte("a"), 200_000)
			got := make(chan []byte, 1)
			go func() {
				b, err := io.ReadAll(second)
				if err != nil {
					t.Error(err)
				}
				got <- b
			}()
			first.Write(question)
			must(t, first.CloseWrite())
			if b := <-got; !bytes.Equal(b, question) {
				t.Fatalf("question of %d bytes arrived as %d", len(question), len(b))
			}
			go func() {
				second.Write(answer)
				second.CloseWrite()
			}()
			if b, err := io.ReadAll(first); err != nil || !bytes.Equal(b, answer) {
				t.Fatalf("answer of %d bytes arrived as %d, %v", len(answer), len(b), err)
			}
			must(t, first.Close())
			second.Close()
		}
	})
}

// TestEnds closes each end and looks at the other one.
func TestEnds(t *testing.T) {
	eachWay(t, func(t *testing.T, kind Kind, method Method) {
		for _, fromClient := range []bool{true, false} {
			up := make(chan net.Conn, 1)
			c := connectVia(t, &Handler{Serve: passTo(up)}, kind, method)
			s := <-up
			near, far := c, s
			if !fromClient {
				near, far = s, c
			}
			go near.Write([]byte("last words"))
			got := make([]byte, 10)
			_, err := io.ReadFull(far, got)
			must(t, err)
			must(t, near.Close())
			if _, err := far.Read(got); err != io.EOF {
				t.Errorf("read: %v", err)
			}
			if _, err := near.Read(got); err == nil || !conn.Orderly(err) {
				t.Errorf("read at the closed end: %v", err)
			}
			must(t, conn.CloseWrite(far)) // does nothing or passes on
			far.Close()
		}
	})
}

// TestServerDeadline checks that the stream that Serve gets keeps deadlines.
func TestServerDeadline(t *testing.T) {
	eachWay(t, func(t *testing.T, kind Kind, method Method) {
		up := make(chan net.Conn, 1)
		connectVia(t, &Handler{Serve: passTo(up)}, kind, method)
		s := <-up
		defer s.Close()
		s.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		var ne net.Error
		if _, err := s.Read(make([]byte, 1)); !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("got %v", err)
		}
	})
}

// TestEarlyBytes has the server speak first, right behind its answer.
func TestEarlyBytes(t *testing.T) {
	eachWay(t, func(t *testing.T, kind Kind, method Method) {
		c := connectVia(t, &Handler{PingInterval: time.Microsecond * 50, Serve: func(_ context.Context, c net.Conn) {
			io.WriteString(c, "5.5.5-10.11.19-MariaDB")
			c.Close()
		}}, kind, method)
		if got, err := io.ReadAll(c); err != nil || string(got) != "5.5.5-10.11.19-MariaDB" {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestFallBack runs Auto against servers of each age.
func TestFallBack(t *testing.T) {
	echo := func(_ context.Context, c net.Conn) {
		defer c.Close()
		io.Copy(c, c)
	}
	for _, tc := range []struct {
		name string
		h    *Handler
		want Method
	}{
		{"both", &Handler{Serve: echo}, WebSocket},
		{"old, without WebSocket", &Handler{Serve: echo, NoWebSocket: true}, Legacy},
		{"newest, without legacy", &Handler{Serve: echo, NoLegacy: true}, WebSocket},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tgt := serveUpgrade(t, tc.h)
			c, method, err := tgt.Connect(t.Context(), ALPNPing, Auto)
			must(t, err)
			defer c.Close()
			if method != tc.want {
				t.Errorf("method %q, want %q", method, tc.want)
			}
			io.WriteString(c, "hello")
			got := make([]byte, 5)
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
