package tlsroute

import (
	"errors"
	"io"
	"net"
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
	got, err := io.ReadAll(uncut{readerConn{Reader: iotest.DataErrReader(r)}})
	if string(got) != "last words" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v", got, err)
	}
}
