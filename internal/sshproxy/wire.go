package sshproxy

import (
	"errors"
	"io"
	"net"
	"sync"
)

// wire is the connection beneath SSH. It keeps the error by which the other
// side ended it, because x/crypto/ssh does not tell: the streams of a broken
// connection read there as if they had come to their end.
type wire struct {
	net.Conn

	mu     sync.Mutex
	closed bool
	err    error
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.closed && w.err == nil {
			w.err = err
		}
	}
	return n, err
}

func (w *wire) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	return w.Conn.Close()
}

// lost returns how the other side ended the connection, and nil if it has not.
func (w *wire) lost() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(w.err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return w.err
}
