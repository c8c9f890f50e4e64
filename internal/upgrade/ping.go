package upgrade

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"tshx/internal/conn"
)

// pingHeader is the length of a frame's header: the payload's length as a
// big-endian number (docs/protocol.md, "Ping framing").
const pingHeader = 4

// pingPayload is the most that one written frame carries, in bytes: what
// package conn moves at once.
const pingPayload = 64 << 10

// pingBuffers holds *[pingHeader+pingPayload]byte between writes, so that idle
// connections keep none.
var pingBuffers = sync.Pool{New: func() any { return new([pingHeader + pingPayload]byte) }}

// PingConn carries a stream in frames, between which empty ones can keep the
// connection alive. It is used behind the legacy alpn-ping upgrade and by the
// ALPN names that end in -ping.
//
// It is a net.Conn: reading, writing and closing may happen at the same time.
// A read returns what has arrived of a frame. A write that ends amid a frame,
// by a deadline or an error, fails all later ones.
type PingConn struct {
	net.Conn

	rmu    sync.Mutex
	header [pingHeader]byte
	have   int    // bytes of header read so far
	left   uint32 // bytes of the frame not read yet

	wmu    sync.Mutex
	broken error // set once a frame was cut

	alive  *keepAlive // nil in the server half
	pinged func()     // of Target.Pinged; may be nil

	once   sync.Once
	closed chan struct{}
}

// NewPingClient frames c as the client, which sends an empty frame whenever it
// has written nothing for KeepAlive. The returned connection owns c.
func NewPingClient(c net.Conn) *PingConn {
	p := NewPingConn(c)
	p.alive = newKeepAlive(p.tryPing)
	return p
}

// NewPingConn frames c, which the returned connection owns.
func NewPingConn(c net.Conn) *PingConn {
	return &PingConn{Conn: c, closed: make(chan struct{})}
}

// NetConn returns the connection that carries the frames.
func (c *PingConn) NetConn() net.Conn { return c.Conn }

// Polled says that a temporary error of the connection beneath does no harm.
func (c *PingConn) Polled() net.Conn { return c.Conn }

// Read skips empty frames and reports an end within a frame as
// io.ErrUnexpectedEOF.
func (c *PingConn) Read(p []byte) (int, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for c.left == 0 {
		if err := c.readHeader(); err != nil {
			return 0, err
		}
		if c.left == 0 && c.pinged != nil {
			c.pinged()
		}
	}
	// The announced length decides how much is asked for, never how much
	// memory is taken.
	if uint64(len(p)) > uint64(c.left) {
		p = p[:c.left]
	}
	n, err := c.Conn.Read(p)
	c.left -= uint32(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
		if c.left == 0 {
			err = nil // the next read finds the end
		}
	}
	return n, err
}

// readHeader keeps a part that a deadline interrupts, so that reading can go on.
func (c *PingConn) readHeader() error {
	for c.have < pingHeader {
		n, err := c.Conn.Read(c.header[c.have:])
		if c.have += n; c.have == pingHeader {
			break
		}
		if err == io.EOF && c.have > 0 {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	c.have = 0
	c.left = binary.BigEndian.Uint32(c.header[:])
	return nil
}

// Write sends p in frames, each with its header in one write below. An empty
// p sends nothing, because an empty frame is a ping.
func (c *PingConn) Write(p []byte) (int, error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	buf := pingBuffers.Get().(*[pingHeader + pingPayload]byte)
	defer pingBuffers.Put(buf)
	sent := 0
	for sent < len(p) {
		n := copy(buf[pingHeader:], p[sent:])
		binary.BigEndian.PutUint32(buf[:], uint32(n))
		w, err := c.writeFrame(buf[:pingHeader+n])
		if err != nil {
			return sent + max(0, w-pingHeader), err
		}
		sent += n
	}
	c.alive.wrote()
	return sent, nil
}

// writeFrame expects wmu to be held.
func (c *PingConn) writeFrame(frame []byte) (int, error) {
	if c.broken != nil {
		return 0, c.broken
	}
	n, err := c.Conn.Write(frame)
	if err != nil && n > 0 {
		c.broken = err
	}
	return n, err
}

// CloseWrite half-closes the connection below, where it can.
func (c *PingConn) CloseWrite() error { return conn.CloseWrite(c.Conn) }

// Close ends the pings and closes the connection below.
func (c *PingConn) Close() error {
	c.alive.stop()
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// StartPings sends an empty frame in each interval, which servers do. It starts
// one goroutine, which ends with Close or when a ping cannot be written. It is
// called once.
func (c *PingConn) StartPings(interval time.Duration) {
	go every(interval, c.closed, func() error {
		c.wmu.Lock()
		defer c.wmu.Unlock()
		return c.ping()
	})
}

// ping expects wmu to be held.
func (c *PingConn) ping() error {
	_, err := c.writeFrame(make([]byte, pingHeader))
	return err
}

// tryPing leaves the ping out where a write is under way: that one keeps the
// connection alive, or nothing does.
func (c *PingConn) tryPing() error {
	if !c.wmu.TryLock() {
		return nil
	}
	defer c.wmu.Unlock()
	return c.ping()
}

// every calls f in each interval until done is closed or f fails.
func every(interval time.Duration, done <-chan struct{}, f func() error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if f() != nil {
				return
			}
		}
	}
}
