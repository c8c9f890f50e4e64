package tlsroute

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/iotest"
)

type readerConn struct {
	net.Conn
	io.Reader
}

func (c readerConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// The last bytes may come together with the end, and must not be lost.
func TestUncut(t *testing.T) {
	r, w := io.Pipe()
	go func() { io.WriteString(w, "last words"); w.Close() }()
	got, err := io.ReadAll(uncut{readerConn{Reader: iotest.DataErrReader(r)}, errCut})
	if string(got) != "last words" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v", got, err)
	}
}

// together gives all it has with an error that passes.
type together struct{ rest string }

func (r *together) Read(p []byte) (int, error) {
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, os.ErrDeadlineExceeded
}

// An error that passes must not come together with bytes: crypto/tls would leave
// a record lie that is complete, until something else arrives.
func TestUncutPassingError(t *testing.T) {
	c := uncut{readerConn{Reader: &together{"record"}}, errCut}
	got := make([]byte, 10)
	if n, err := c.Read(got); string(got[:n]) != "record" || err != nil {
		t.Errorf("read %q, %v", got[:n], err)
	}
	if n, err := c.Read(got); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("then %d bytes, %v", n, err)
	}
}
