package upgrade

import (
	"net"
	"sync"
	"time"
)

// wire is the connection that gorilla/websocket gets to see. It bounds how much
// is read for the handshake, and lets write deadlines be set from outside:
// gorilla/websocket sets one before each frame from a field without a lock.
type wire struct {
	net.Conn
	bounded bool // during the client's handshake
	left    int  // bytes that may still be read while bounded
	matched int  // bytes of endOfHeader that the last read ended with

	mu      sync.Mutex
	user    time.Time // the deadline that the owner of the stream wants
	current time.Time // the deadline that is set
}

func (w *wire) Read(p []byte) (int, error) {
	if !w.bounded {
		return w.Conn.Read(p)
	}
	if w.left <= 0 {
		return 0, errLongAnswer
	}
	n, err := w.Conn.Read(p[:min(len(p), w.left)])
	w.left -= n
	if w.headerEnds(p[:n]) {
		// What follows is a refusal's body, which gorilla/websocket reads, or
		// nothing. The deadline is cleared behind a handshake.
		w.Conn.SetReadDeadline(time.Now().Add(refusalWait))
	}
	return n, err
}

// endOfHeader ends the header of an answer (RFC 9112, section 2.1).
const endOfHeader = "\r\n\r\n"

// headerEnds reports whether the header's end is in p, which continues what was
// read before.
func (w *wire) headerEnds(p []byte) bool {
	for _, b := range p {
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
			return true
		}
	}
	return false
}

// SetWriteDeadline is called by gorilla/websocket: with zero before data
// frames, and with a bound of its own before some control frames.
func (w *wire) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.IsZero() {
		t = w.user
	}
	return w.set(t)
}

// limitWrites sets the deadline for data frames, for one in progress too.
func (w *wire) limitWrites(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.user = t
	return w.set(t)
}

// set expects mu to be held.
func (w *wire) set(t time.Time) error {
	if t.Equal(w.current) {
		return nil
	}
	w.current = t
	return w.Conn.SetWriteDeadline(t)
}

// SetDeadline is called around the handshake only.
func (w *wire) SetDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = t
	return w.Conn.SetDeadline(t)
}
