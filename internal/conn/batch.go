package conn

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// batchSize is what one read or write of a socket moves at most, in bytes. A
// system call and the wake-up of whoever waits at the other end cost as much as
// copying some ten thousand bytes.
const batchSize = 64 << 10

// outSize has room for batchSize bytes in TLS records inside of TLS records.
const outSize = batchSize + 4<<10

// outs lends what Batch gathers writes in, as buffers lends what is read into.
var outs = sync.Pool{New: func() any { b := make([]byte, 0, outSize); return &b }}

// Batch is a connection beneath a TLS connection, which for itself reads and
// writes one record at a time. Reading it asks a socket for all that has
// arrived, and writes are gathered between hold and release. Both buffers are
// borrowed: an idle Batch has none.
//
// Reading belongs to one goroutine at a time. Everything else is as safe as in
// the connection beneath, which the Batch owns.
type Batch struct {
	net.Conn
	sock *socket // nil where Conn is no socket or cannot be read without waiting

	in      *[]byte // of buffers; nil when everything is read
	r, w    int     // what is left of in
	end     error   // of the last wait, to be returned by the next Read
	drained bool    // the last read of the socket left nothing there
	nowait  bool    // Read returns errNotNow in place of waiting

	wmu     sync.Mutex
	held    bool
	out     *[]byte // of outs; what is held back
	written int     // bytes written since hold
	record  int     // length of the first write since hold
	broken  error   // the first failed write, which every later one returns
	sending atomic.Bool
	undated atomic.Bool // SetWriteDeadline does nothing
}

// NewBatch returns a Batch over c.
func NewBatch(c net.Conn) *Batch { return &Batch{Conn: c, sock: newSocket(c)} }

// NetConn returns the connection beneath, as tls.Conn.NetConn does.
func (b *Batch) NetConn() net.Conn { return b.Conn }

// Polled says that a temporary error of the connection beneath does no harm.
func (b *Batch) Polled() net.Conn { return b.Conn }

// CloseWrite half-closes the connection beneath.
func (b *Batch) CloseWrite() error { return CloseWrite(b.Conn) }

func (b *Batch) Read(p []byte) (int, error) {
	if b.sock == nil {
		return b.Conn.Read(p)
	}
	if b.r == b.w && b.end == nil {
		if b.nowait && b.drained {
			return 0, errNotNow
		}
		b.fill(!b.nowait)
	}
	if err := b.end; err != nil && b.r == b.w {
		b.end = nil
		return 0, err
	}
	n := copy(p, (*b.in)[b.r:b.w])
	if b.r += n; b.r == b.w {
		buffers.Put(b.in)
		b.in = nil
	}
	return n, nil
}

// fill reads the socket. What it gets, or why there is nothing, is for Read to
// return. It must only be called when everything before was read.
func (b *Batch) fill(wait bool) {
	if b.r != b.w || b.end != nil {
		return
	}
	b.r = 0
	b.in, b.w, b.end = b.sock.read(wait)
	b.drained = b.end != nil || b.w < len(*b.in)
}

// Write writes p, or keeps it until release.
func (b *Batch) Write(p []byte) (int, error) {
	b.wmu.Lock()
	defer b.wmu.Unlock()
	if !b.held {
		return b.write(p)
	}
	if b.broken != nil {
		return 0, b.broken
	}
	if b.record == 0 {
		b.record = len(p)
	}
	if b.out == nil {
		b.out = outs.Get().(*[]byte)
	}
	if len(*b.out)+len(p) > outSize {
		if err := b.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) > outSize {
		n, err := b.write(p)
		b.written += n
		return n, err
	}
	*b.out = append(*b.out, p...)
	return len(p), nil
}

// SetWriteDeadline is that of the connection beneath, except in TLS.CloseWrite.
func (b *Batch) SetWriteDeadline(t time.Time) error {
	if b.undated.Load() {
		return nil
	}
	return b.Conn.SetWriteDeadline(t)
}

// shut lets nothing follow a close_notify (RFC 8446, section 6.1), such as the
// answer to a KeyUpdate.
func (b *Batch) shut() {
	b.wmu.Lock()
	defer b.wmu.Unlock()
	if b.broken == nil {
		b.broken = net.ErrClosed
	}
}

// hold makes Write keep what it is given.
func (b *Batch) hold() {
	b.wmu.Lock()
	defer b.wmu.Unlock()
	b.held, b.written, b.record = true, 0, 0
}

// release writes what was kept, and makes Write write again. It returns how
// many of the writes since hold went out whole, if all but the last were of the
// same length.
func (b *Batch) release() (whole int, err error) {
	b.wmu.Lock()
	defer b.wmu.Unlock()
	b.held = false
	if b.out != nil {
		err = b.flush()
		outs.Put(b.out)
		b.out = nil
	} else {
		err = b.broken
	}
	if b.record > 0 {
		whole = b.written / b.record
	}
	return whole, err
}

// flush expects wmu to be held and out not to be nil.
func (b *Batch) flush() error {
	n, err := b.write(*b.out)
	b.written += n
	*b.out = (*b.out)[:0]
	return err
}

// write expects wmu to be held. After a failure nobody knows where the stream
// of records stands.
func (b *Batch) write(p []byte) (int, error) {
	if b.broken != nil {
		return 0, b.broken
	}
	b.sending.Store(true)
	n, err := b.Conn.Write(p)
	b.sending.Store(false)
	b.broken = err
	return n, err
}
