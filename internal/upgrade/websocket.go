package upgrade

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"

	"tshx/internal/plain"
)

// wsCloseWait bounds what Close does before the connection below is closed.
const wsCloseWait = time.Second

// CloseError is the end of a stream by a WebSocket close frame that is not an
// orderly one (RFC 6455, section 7.4).
type CloseError struct {
	Code int
	Text string // what the other side said, in one line; may be empty
}

func (e *CloseError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("the other side closed the WebSocket with code %d", e.Code)
	}
	return fmt.Sprintf("the other side closed the WebSocket with code %d: %s", e.Code, e.Text)
}

// wsConn is the stream inside of a WebSocket, for both halves. Reading,
// writing and closing may happen at the same time. It keeps to net.Conn but for
// these points:
//
//   - A write that times out fails all later ones.
//   - There is no CloseWrite, because WebSocket closes both directions at once.
//     The inner TLS connection half-closes by its own close_notify.
//   - A close frame of code 1000 or 1001 or without one is io.EOF, and so is the
//     end of the connection between two messages, because many servers send no
//     close frame. An end within a message is io.ErrUnexpectedEOF.
//   - Close sends a close frame and waits for no answer. It takes wsCloseWait
//     when the other side reads nothing.
//   - Pings are answered only while a Read is in progress.
//
// gorilla/websocket does the handshakes. The frames are our own work: its
// reader cannot go on behind a read that was only to look, and its writer makes
// two copies.
type wsConn struct {
	net.Conn            // below
	client   bool       // masks what it sends
	alive    *keepAlive // nil in the server half
	pinged   func()     // of Target.Pinged; may be nil

	rmu  sync.Mutex
	r    wsReader
	rerr error // final

	wmu  sync.Mutex    // held for a whole Write, so that frames of two do not mix
	turn chan struct{} // holds a token while a frame is written
	werr error         // final; guarded by turn
	sent bool          // a close frame went out; guarded by turn

	pmu     sync.Mutex
	pong    []byte // payload to answer with
	pending bool   // pong is still to be sent
	ponging bool   // the goroutine that sends it runs

	once     sync.Once
	closed   chan struct{}
	closeErr error
	peerEnd  atomic.Bool // a close frame was received
}

// newWSConn speaks WebSocket on below, behind a handshake. It owns below.
func newWSConn(below net.Conn, client bool) *wsConn {
	c := &wsConn{Conn: below, client: client, r: wsReader{masked: !client}, turn: make(chan struct{}, 1), closed: make(chan struct{})}
	if client {
		c.alive = newKeepAlive(c.tryPong)
	}
	return c
}

func (c *wsConn) Read(p []byte) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for c.rerr == nil {
		if c.r.left > 0 && c.r.op < opClose {
			n, err := c.r.payload(c.Conn, p)
			if err = c.readError(err); n > 0 {
				return n, nil // an error comes again, or is kept
			} else if err != nil {
				return 0, err
			}
			continue
		}
		if err := c.readError(c.control()); err != nil {
			return 0, err
		}
	}
	return 0, c.rerr
}

// control reads up to the next payload: the rest of a control frame, then a
// header.
func (c *wsConn) control() error {
	if c.r.left == 0 {
		if err := c.r.next(c.Conn); err != nil {
			return err
		}
	}
	if c.r.op < opClose {
		if c.r.op == opText {
			return errTextFrame
		}
		return nil
	}
	payload, err := c.r.controlPayload(c.Conn)
	if err != nil {
		return err
	}
	switch c.r.op {
	case opPing:
		if c.pinged != nil {
			c.pinged()
		}
		c.answerPing(payload)
	case opClose:
		return c.peerClosed(payload)
	}
	return nil
}

// readError turns errors into those of the stream, and keeps the final ones.
func (c *wsConn) readError(err error) error {
	if err == nil {
		return nil
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return err
	}
	select {
	case <-c.closed:
		err = net.ErrClosed
	default:
	}
	if err == io.EOF && c.r.inside() {
		err = io.ErrUnexpectedEOF
	}
	if fault, ok := err.(wsFrameError); ok {
		c.sayClose(websocket.CloseProtocolError, string(fault))
	}
	c.rerr = err
	return err
}

// peerClosed answers a close frame and says how the stream ends with it.
func (c *wsConn) peerClosed(payload []byte) error {
	c.peerEnd.Store(true)
	c.r.message = false
	if len(payload) < 2 {
		c.sayClose(websocket.CloseNoStatusReceived, "")
		if len(payload) == 1 {
			return wsFrameError("half a code in a close frame")
		}
		return io.EOF
	}
	code := int(binary.BigEndian.Uint16(payload))
	c.sayClose(code, "") // RFC 6455, section 5.5.1
	switch code {
	case websocket.CloseNormalClosure, websocket.CloseGoingAway:
		return io.EOF
	}
	return &CloseError{Code: code, Text: plain.Line(string(payload[2:]), maxLine)}
}

// netError is for errors of writes.
func (c *wsConn) netError(err error) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return os.ErrDeadlineExceeded
	}
	return err
}

// Write sends p in frames that are messages of their own: not every peer reads
// fragmented ones.
func (c *wsConn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	sent := 0
	for sent < len(p) {
		chunk := p[sent:min(len(p), sent+wsPayload)]
		n, err := c.frame(opBinary, chunk)
		sent += n
		if err != nil {
			return sent, c.netError(err)
		}
	}
	c.alive.wrote()
	return sent, nil
}

// errCloseSent is what may follow a close frame (RFC 6455, section 5.5.1).
var errCloseSent = fmt.Errorf("WebSocket closed: %w", syscall.EPIPE)

func (c *wsConn) frame(op byte, payload []byte) (n int, err error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.werr != nil {
		return 0, c.werr
	}
	if c.sent {
		return 0, errCloseSent
	}
	c.sent = op == opClose
	n, c.werr = writeWSFrame(c.Conn, op, c.client, payload)
	return n, c.werr
}

// answerPing sends the Pong from a goroutine of its own and without a bound. A
// bound would break the stream where the peer is merely slow, and waiting here
// would stop the reading. Of several pings the newest is answered (RFC 6455,
// section 5.5.3). The goroutine ends when the Pong is out or the connection
// fails.
func (c *wsConn) answerPing(payload []byte) {
	c.pmu.Lock()
	defer c.pmu.Unlock()
	c.pong, c.pending = append(c.pong[:0:0], payload...), true
	if !c.ponging {
		c.ponging = true
		go c.sendPongs()
	}
}

func (c *wsConn) sendPongs() {
	for {
		c.pmu.Lock()
		if !c.pending {
			c.ponging = false
			c.pmu.Unlock()
			return
		}
		payload := c.pong
		c.pending = false
		c.pmu.Unlock()
		if _, err := c.frame(opPong, payload); err != nil {
			return // ponging stays set: there is nothing to answer on any more
		}
	}
}

// tryPong sends a Pong unasked, but not where a write is under way: that one
// keeps the connection alive, or nothing does.
func (c *wsConn) tryPong() error {
	if !c.wmu.TryLock() {
		return nil
	}
	defer c.wmu.Unlock()
	_, err := c.frame(opPong, nil)
	return err
}

// startPings sends a Ping in each interval, which only the server half does.
// Its goroutine ends with Close or when a ping cannot be written.
func (c *wsConn) startPings(interval time.Duration) {
	go every(interval, c.closed, func() error {
		_, err := c.frame(opPing, []byte("teleport"))
		return err
	})
}

// sayClose sends a close frame and waits for wsCloseWait at most. It does
// nothing while a Write is stuck: Close cuts that one off. Nothing may be
// written behind a close frame, so that the deadline harms nobody.
func (c *wsConn) sayClose(code int, text string) {
	if !c.wmu.TryLock() {
		return
	}
	defer c.wmu.Unlock()
	c.Conn.SetWriteDeadline(time.Now().Add(wsCloseWait)) // for a Pong that is stuck, too
	c.frame(opClose, websocket.FormatCloseMessage(code, text))
}

// Close sends close code 1000 and closes the connection below.
func (c *wsConn) Close() error { return c.closeWith(websocket.CloseNormalClosure, "") }

func (c *wsConn) closeWith(code int, text string) error {
	c.once.Do(func() {
		close(c.closed)
		c.alive.stop()
		// Whatever is stuck below, a write or a TLS close_notify, ends here.
		cut := time.AfterFunc(wsCloseWait, func() { bottom(c.Conn).Close() })
		defer cut.Stop()
		c.sayClose(code, text)
		c.closeErr = c.Conn.Close()
	})
	return c.closeErr
}

// NetConn returns the connection that carries the frames.
func (c *wsConn) NetConn() net.Conn { return c.Conn }

// Polled says that a temporary error of the connection beneath does no harm.
func (c *wsConn) Polled() net.Conn { return c.Conn }

// bottom returns the connection below all wrappers that show theirs.
func bottom(c net.Conn) net.Conn {
	for {
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = w.NetConn()
	}
}
