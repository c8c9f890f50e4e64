package reversetunnel

import "sync"

// Streams counts the streams that are open on a tunnel. The zero value is ready.
type Streams struct {
	mu   sync.Mutex
	n    int
	idle []func()
}

// Begin counts a stream and returns what ends it.
func (s *Streams) Begin() func() {
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
	return sync.OnceFunc(s.end)
}

func (s *Streams) end() {
	s.mu.Lock()
	s.n--
	var idle []func()
	if s.n == 0 {
		idle, s.idle = s.idle, nil
	}
	s.mu.Unlock()
	for _, f := range idle {
		f()
	}
}

// Len is how many are open.
func (s *Streams) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// WhenIdle calls f once, as soon as no stream is open.
func (s *Streams) WhenIdle(f func()) {
	s.mu.Lock()
	if s.n > 0 {
		s.idle = append(s.idle, f)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	f()
}
