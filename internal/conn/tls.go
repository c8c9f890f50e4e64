package conn

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// maxRecord is the most that one TLS record carries, in bytes (RFC 8446,
// section 5.1).
const maxRecord = 16 << 10

// TLS is a TLS connection over a Batch: a Write is one write of the socket,
// however many records it makes. Everything written has left when Write
// returns.
type TLS struct {
	*tls.Conn
	// Handshaken, if not nil, is called when HandshakeContext is done, the only
	// function that may then do a handshake. It serves to drop what only that
	// needs, because a connection keeps its tls.Config for life.
	Handshaken func()

	below *Batch
	wmu   sync.Mutex // held for a whole Write
}

// NewTLS returns c, which must use below (perhaps through other layers), with
// its Write replaced. Its tls.Config should set DynamicRecordSizingDisabled.
func NewTLS(c *tls.Conn, below *Batch) *TLS { return &TLS{Conn: c, below: below} }

// Rewrapped returns c as a TLS where it is the tls.Conn of one, after something
// that works with tls.Conn only, and otherwise c itself. There may be one layer in
// between.
func Rewrapped(c net.Conn) net.Conn {
	t, ok := c.(*tls.Conn)
	if !ok {
		return c
	}
	below, ok := t.NetConn().(*Batch)
	if layer, is := t.NetConn().(interface{ NetConn() net.Conn }); !ok && is {
		below, ok = layer.NetConn().(*Batch)
	}
	if !ok {
		return c
	}
	return NewTLS(t, below)
}

// Polled says that a temporary error of the connection beneath does no harm.
func (t *TLS) Polled() net.Conn { return t.Conn }

// NetConn returns the tls.Conn, whose NetConn returns what is beneath.
func (t *TLS) NetConn() net.Conn { return t.Conn }

// HandshakeContext is that of tls.Conn on a goroutine of its own: the stack that
// certificates need, many times that of copying, goes with it.
func (t *TLS) HandshakeContext(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- t.Conn.HandshakeContext(ctx) }()
	err := <-done
	if t.Handshaken != nil {
		t.Handshaken()
	}
	return err
}

// Write is that of tls.Conn. When it fails, the count is that of whole records
// which have been written to the connection beneath.
func (t *TLS) Write(p []byte) (int, error) {
	t.wmu.Lock()
	defer t.wmu.Unlock()
	if len(p) <= maxRecord {
		return t.Conn.Write(p)
	}
	t.below.hold()
	n, err := t.Conn.Write(p)
	whole, sent := t.below.release()
	if sent != nil {
		return min(n, whole*maxRecord), sent
	}
	return n, err
}

// CloseWrite is that of tls.Conn, but waits for a reader that is slow as Write
// does, and leaves what is beneath as it was. That one breaks off after five
// seconds, and sets a write deadline which ends the keepalive of layers beneath.
func (t *TLS) CloseWrite() error {
	t.wmu.Lock()
	defer t.wmu.Unlock()
	t.below.undated.Store(true)
	err := t.Conn.CloseWrite()
	t.below.undated.Store(false)
	if err == nil {
		t.below.shut()
	}
	return err
}

// closeWait bounds what Close does, as it is in crypto/tls.
const closeWait = 5 * time.Second

// Close is that of tls.Conn. It does not wait for a Write or CloseWrite that is
// stuck, but cuts it off.
func (t *TLS) Close() error {
	if t.below.sending.Load() {
		err := t.below.Conn.Close()
		t.Conn.Close()
		return err
	}
	// For one that gets stuck only now.
	cut := time.AfterFunc(closeWait, func() { t.below.Conn.Close() })
	defer cut.Stop()
	return t.Conn.Close()
}
