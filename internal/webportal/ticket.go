package webportal

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// ticketsMost bounds how many tickets of one kind are out. Those who ask for more
// are signed in already.
const ticketsMost = 1 << 12

// tickets are secrets that stand for a value, once and for a while. Only their
// hashes are kept.
type tickets[T any] struct {
	mu  sync.Mutex
	out map[[sha256.Size]byte]ticket[T]
}

type ticket[T any] struct {
	value T
	ends  time.Time
}

func newTickets[T any]() *tickets[T] {
	return &tickets[T]{out: make(map[[sha256.Size]byte]ticket[T])}
}

// issue returns a new ticket. Where too many are out, an arbitrary one is no
// longer good.
func (t *tickets[T]) issue(value T, lifetime time.Duration) string {
	secret := newSecret()
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for h, old := range t.out {
		if !now.Before(old.ends) {
			delete(t.out, h)
		}
	}
	for h := range t.out {
		if len(t.out) < ticketsMost {
			break
		}
		delete(t.out, h)
	}
	t.out[sha256.Sum256([]byte(secret))] = ticket[T]{value, now.Add(lifetime)}
	return secret
}

// look returns what a ticket stands for and leaves it good.
func (t *tickets[T]) look(secret string) (T, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.valid(sha256.Sum256([]byte(secret)))
}

// take is look, after which the ticket is used up.
func (t *tickets[T]) take(secret string) (T, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := sha256.Sum256([]byte(secret))
	v, ok := t.valid(h)
	delete(t.out, h)
	return v, ok
}

func (t *tickets[T]) valid(h [sha256.Size]byte) (T, bool) {
	v, ok := t.out[h]
	return v.value, ok && time.Now().Before(v.ends)
}

// newSecret returns 256 bits and more that are fit for a URL and a cookie.
func newSecret() string { return rand.Text() + rand.Text() }
