package tlsroute_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"tshx/internal/tlsroute"
)

// recordHello returns the bytes of a ClientHello.
func recordHello(t testing.TB, sni string, alpn []string) []byte {
	t.Helper()
	var rec helloRecorder
	tls.Client(&rec, &tls.Config{ServerName: sni, NextProtos: alpn, InsecureSkipVerify: true}).HandshakeContext(t.Context())
	if rec.Len() == 0 {
		t.Fatal("no hello recorded")
	}
	return rec.Bytes()
}

type helloRecorder struct {
	net.Conn
	bytes.Buffer
}

func (r *helloRecorder) Write(p []byte) (int, error)      { return r.Buffer.Write(p) }
func (*helloRecorder) Read([]byte) (int, error)           { return 0, io.EOF }
func (*helloRecorder) Close() error                       { return nil }
func (*helloRecorder) SetWriteDeadline(t time.Time) error { return nil }

// fed is a connection that reads in and then ends. Writing to it is an error.
type fed struct {
	net.Conn
	in      io.Reader
	written int
}

func (f *fed) Read(p []byte) (int, error)      { return f.in.Read(p) }
func (f *fed) Write(p []byte) (int, error)     { f.written += len(p); return len(p), nil }
func (f *fed) SetReadDeadline(time.Time) error { return nil }

// oneByte yields a byte at a time.
type oneByte struct{ io.Reader }

func (r oneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

func TestReadHello(t *testing.T) {
	for _, tt := range []struct {
		name string
		want tlsroute.Hello
	}{
		{"plain", tlsroute.Hello{ServerName: "proxy.example.com"}},
		{"names", tlsroute.Hello{ServerName: "localhost", ALPN: []string{"teleport-redis-ping", "teleport-redis"}}},
		{"no sni", tlsroute.Hello{ALPN: []string{"h2"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := append(recordHello(t, tt.want.ServerName, tt.want.ALPN), "and what follows"...)
			c := &fed{in: oneByte{bytes.NewReader(raw)}}
			got, replay, err := tlsroute.ReadHello(c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if b, err := io.ReadAll(replay); err != nil || !bytes.Equal(b, raw) {
				t.Errorf("replay differs: %d of %d bytes, %v", len(b), len(raw), err)
			}
			if c.written != 0 {
				t.Errorf("%d bytes written to the client", c.written)
			}
		})
	}
}

func TestReadHelloRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing": "",
		"http":    "GET / HTTP/1.1\r\n\r\n",
		"ssh":     "SSH-2.0-OpenSSH_9.2\r\n",
		"cut":     string(recordHello(t, "localhost", nil)[:50]),
	} {
		t.Run(name, func(t *testing.T) {
			c := &fed{in: bytes.NewReader([]byte(in))}
			if h, _, err := tlsroute.ReadHello(c); err == nil {
				t.Errorf("accepted: %+v", h)
			}
			if c.written != 0 {
				t.Errorf("%d bytes written to the client", c.written)
			}
		})
	}
}

// A client of PostgreSQL asks for TLS first, in words that nothing may be lost of.
func TestReadHelloOfPostgres(t *testing.T) {
	const in = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	_, replay, err := tlsroute.ReadHello(&fed{in: bytes.NewReader([]byte(in))})
	if !errors.Is(err, tlsroute.ErrPostgres) {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(replay); string(got) != in || err != nil {
		t.Errorf("replayed %q, %v", got, err)
	}
}

// FuzzReadHello checks that whatever is accepted is replayed as it came, and
// that nothing is ever written.
func FuzzReadHello(f *testing.F) {
	f.Add(recordHello(f, "localhost", []string{"teleport-proxy-ssh"}))
	f.Add(recordHello(f, "", nil))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := &fed{in: bytes.NewReader(in)}
		_, replay, err := tlsroute.ReadHello(c)
		if c.written != 0 {
			t.Fatalf("%d bytes written", c.written)
		}
		if err != nil {
			return
		}
		if b, _ := io.ReadAll(replay); !bytes.Equal(b, in) {
			t.Fatal("replay differs")
		}
	})
}
