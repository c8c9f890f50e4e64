package upgrade

import (
	"net"
	"time"

	"tshx/internal/conn"
)

// wire is the connection that gorilla/websocket gets to see, for the client's
// handshake only. It bounds how much is read for it, and keeps what follows the
// header of the answer.
type wire struct {
	net.Conn
	left    int    // bytes that may still be read
	matched int    // bytes of endOfHeader that the last read ended with
	ahead   []byte // came in with the end of the header
}

// stream is the connection behind the handshake.
func (w *wire) stream() net.Conn { return conn.Buffered(w.Conn, w.ahead) }

func (w *wire) Read(p []byte) (int, error) {
	if len(w.ahead) > 0 {
		n := copy(p, w.ahead)
		w.ahead = w.ahead[n:]
		return n, nil
	}
	if w.left <= 0 {
		return 0, errLongAnswer
	}
	n, err := w.Conn.Read(p[:min(len(p), w.left)])
	w.left -= n
	if end := w.headerEnd(p[:n]); end >= 0 {
		// What follows is a refusal's body, which gorilla/websocket reads, or the
		// stream. The deadline is cleared behind a handshake.
		w.Conn.SetReadDeadline(time.Now().Add(refusalWait))
		w.ahead = append(w.ahead, p[end:n]...)
		n = end
	}
	return n, err
}

// endOfHeader ends the header of an answer (RFC 9112, section 2.1).
const endOfHeader = "\r\n\r\n"

// headerEnd returns where in p, which continues what was read before, the
// header has ended, or -1.
func (w *wire) headerEnd(p []byte) int {
	for i, b := range p {
		switch {
		case b == endOfHeader[w.matched]:
			w.matched++
		case b == endOfHeader[0]:
			w.matched = 1
		default:
			w.matched = 0
		}
		if w.matched == len(endOfHeader) {
			w.matched = 0
			return i + 1
		}
	}
	return -1
}
