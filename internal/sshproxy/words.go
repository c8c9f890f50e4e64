package sshproxy

import (
	"sync"

	"tshx/internal/plain"
)

// words keeps the beginning of what the proxy writes to standard error.
type words struct {
	mu  sync.Mutex
	buf []byte
}

// wordsMax is enough for a sentence and bounds what a server can make us keep.
const wordsMax = 1024

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p[:min(len(p), wordsMax-len(w.buf))]...)
	return len(p), nil
}

func (w *words) line() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return plain.Line(string(w.buf), 0)
}
