package upgrade

import (
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

// wsPayload is the most that one written frame carries: a whole TLS record of
// the inner connection with its header and the most that TLS 1.3 adds (RFC
// 8446, section 5.2), in bytes.
const wsPayload = 16<<10 + 5 + 256

// wsReadBuffer is the size of the buffer for frame headers, in bytes. Payload
// beyond it is read past it.
const wsReadBuffer = 4 << 10

// wsBuffers lends write buffers, so that idle connections keep none.
var wsBuffers sync.Pool

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

var errTextFrame = errors.New("text frame on a binary WebSocket")

// wsConn is the stream inside of a WebSocket, for both halves. Reading,
// writing and closing may happen at the same time. It keeps to net.Conn but for
// these points:
//
//   - Deadlines are final: a read or write that times out fails all later ones.
//   - There is no CloseWrite, because WebSocket closes both directions at once.
//     The inner TLS connection half-closes by its own close_notify.
//   - A close frame of code 1000 or 1001 or without one is io.EOF, and so is the
//     end of the connection between two messages, because many servers send no
//     close frame. An end within a message is io.ErrUnexpectedEOF.
//   - Close sends a close frame and waits for no answer. It takes wsCloseWait
//     when the other side reads nothing.
//   - Pings are answered only while a Read is in progress.
type wsConn struct {
	ws   *websocket.Conn
	wire *wire

	rmu  sync.Mutex
	msg  io.Reader // rest of the current message; nil between two
	rerr error     // final

	wmu sync.Mutex // held for a whole Write, so that frames of two do not mix

	pmu     sync.Mutex
	pong    string // payload to answer with
	pending bool   // pong is still to be sent
	ponging bool   // the goroutine that sends it runs

	once     sync.Once
	closed   chan struct{}
	closeErr error
	peerEnd  atomic.Bool // a close frame was received
}

// newWSConn adapts ws, whose connection is below. It owns both.
func newWSConn(ws *websocket.Conn, below *wire) *wsConn {
	c := &wsConn{ws: ws, wire: below, closed: make(chan struct{})}
	ws.SetPingHandler(c.answerPing)
	ws.SetCloseHandler(c.answerClose)
	return c
}

func (c *wsConn) Read(p []byte) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for c.rerr == nil {
		if c.msg == nil {
			c.rerr = c.nextMessage()
			continue
		}
		n, err := c.msg.Read(p)
		switch err {
		case nil:
		case io.EOF: // of the message, or of the stream: the next one tells
			c.msg = nil
		default:
			c.rerr = c.readError(err, true)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, c.rerr
}

func (c *wsConn) nextMessage() error {
	kind, msg, err := c.ws.NextReader()
	if err != nil {
		return c.readError(err, false)
	}
	if kind != websocket.BinaryMessage {
		return errTextFrame
	}
	c.msg = msg
	return nil
}

// readError turns the errors of gorilla/websocket into those of a net.Conn.
// inside tells that a message was being read.
func (c *wsConn) readError(err error, inside bool) error {
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
		switch ce.Code {
		case websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived:
			return io.EOF
		case websocket.CloseAbnormalClosure: // no frame, the connection ended
			if inside {
				return io.ErrUnexpectedEOF
			}
			return io.EOF
		}
		return &CloseError{Code: ce.Code, Text: plain.Line(ce.Text, maxLine)}
	}
	return c.netError(err)
}

// netError makes an error recognisable that gorilla/websocket has rewrapped.
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
		if err := c.ws.WriteMessage(websocket.BinaryMessage, chunk); err != nil {
			if errors.Is(err, websocket.ErrCloseSent) && c.peerEnd.Load() {
				err = fmt.Errorf("WebSocket closed by the other side: %w", syscall.EPIPE)
			}
			return sent, c.netError(err)
		}
		sent += len(chunk)
	}
	return sent, nil
}

// answerPing sends the Pong from a goroutine of its own and without a bound. A
// bound would break the stream where the peer is merely slow, and waiting here
// would stop the reading. Of several pings the newest is answered (RFC 6455,
// section 5.5.3). The goroutine ends when the Pong is out or the connection
// fails.
func (c *wsConn) answerPing(payload string) error {
	c.pmu.Lock()
	defer c.pmu.Unlock()
	c.pong, c.pending = payload, true
	if !c.ponging {
		c.ponging = true
		go c.sendPongs()
	}
	return nil
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
		if c.ws.WriteControl(websocket.PongMessage, []byte(payload), time.Time{}) != nil {
			return // ponging stays set: there is nothing to answer on any more
		}
	}
}

// answerClose returns the code (RFC 6455, section 5.5.1), unless a Write is
// stuck: Close cuts that one off.
func (c *wsConn) answerClose(code int, _ string) error {
	c.peerEnd.Store(true)
	if c.wmu.TryLock() {
		defer c.wmu.Unlock()
		c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(wsCloseWait))
	}
	return nil
}

// startPings sends a Ping in each interval, which only the server half does.
// Its goroutine ends with Close or when a ping cannot be written.
func (c *wsConn) startPings(interval time.Duration) {
	go every(interval, c.closed, func() error {
		return c.ws.WriteControl(websocket.PingMessage, []byte("teleport"), time.Time{})
	})
}

// Close sends close code 1000 and closes the connection below.
func (c *wsConn) Close() error { return c.closeWith(websocket.CloseNormalClosure, "") }

func (c *wsConn) closeWith(code int, text string) error {
	c.once.Do(func() {
		close(c.closed)
		// Whatever is stuck below, a write or a TLS close_notify, ends here.
		cut := time.AfterFunc(wsCloseWait, func() { bottom(c.wire.Conn).Close() })
		defer cut.Stop()
		if c.wmu.TryLock() { // otherwise a Write is cut off, as in a tls.Conn
			c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), time.Now().Add(wsCloseWait))
			c.wmu.Unlock()
		}
		c.closeErr = c.ws.Close()
	})
	return c.closeErr
}

func (c *wsConn) LocalAddr() net.Addr                { return c.wire.LocalAddr() }
func (c *wsConn) RemoteAddr() net.Addr               { return c.wire.RemoteAddr() }
func (c *wsConn) NetConn() net.Conn                  { return c.wire.Conn }
func (c *wsConn) SetReadDeadline(t time.Time) error  { return c.wire.SetReadDeadline(t) }
func (c *wsConn) SetWriteDeadline(t time.Time) error { return c.wire.limitWrites(t) }

func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

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
