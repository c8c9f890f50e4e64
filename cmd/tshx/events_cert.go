package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"tshx/internal/event"
	"tshx/internal/profile"
)

// expiringBefore is how long before the end of a certificate a running command
// begins to say so.
const expiringBefore = 15 * time.Minute

// certWatch watches the certificate of one resource: it tells when the one on
// disk is about to end or has ended, and when there is another one. Only a timer
// and those who read the certificate anyway make it look; it does not poll.
type certWatch struct {
	Resource string
	Read     func() (*tls.Certificate, error)
	Events   *event.Writer
	// Warn is called once for each certificate that is about to end.
	Warn func(expires time.Time)

	mu      sync.Mutex
	raw     []byte // of the certificate; nil until it was read
	expires time.Time
	warned  bool // that it is about to end
	ended   bool // told that it has ended
	timer   *time.Timer
}

// Start begins with a certificate that ends at expires. The caller ends it with
// Stop.
func (w *certWatch) Start(expires time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expires = expires
	w.timer = time.AfterFunc(w.next(), w.due)
}

// Stop ends the watch, if it was begun.
func (w *certWatch) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}

// next is how long it takes until there is something to tell.
func (w *certWatch) next() time.Duration {
	switch {
	case w.expires.IsZero() || w.ended:
		return 1 << 62
	case w.warned:
		return time.Until(w.expires)
	}
	return time.Until(w.expires.Add(-expiringBefore))
}

// Certificate reads the certificate for somebody who shows it.
func (w *certWatch) Certificate() (*tls.Certificate, error) {
	cert, err := w.Read()
	if err == nil && cert.Leaf != nil {
		w.note(cert.Leaf.Raw, cert.Leaf.NotAfter)
	}
	return cert, err
}

// Connected looks for a new certificate where clients show it themselves, once
// the old one is about to end.
func (w *certWatch) Connected() {
	w.mu.Lock()
	warned := w.warned
	w.mu.Unlock()
	if warned {
		w.Certificate()
	}
}

// note takes the certificate that is on disk now.
func (w *certWatch) note(raw []byte, expires time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.raw
	w.raw = raw
	if bytes.Equal(old, raw) || old == nil && expires.Equal(w.expires) {
		return
	}
	w.expires, w.warned, w.ended = expires, false, false
	if w.timer == nil {
		return // the watch has not begun
	}
	w.Events.Emit(event.CertRenewed{Resource: w.Resource, Expires: expires.UTC()})
	w.timer.Reset(w.next())
}

// due tells what there is to tell unless the certificate was renewed meanwhile.
func (w *certWatch) due() {
	w.Certificate() // one that cannot be read, or has ended, is not a new one
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.expires.IsZero() || w.ended || w.next() > 0 {
		w.timer.Reset(w.next())
		return
	}
	left := max(0, time.Until(w.expires))
	w.Events.Emit(event.CertExpiring{Resource: w.Resource, Expires: w.expires.UTC(), SecondsLeft: int64(left / time.Second)})
	if !w.warned {
		w.Warn(w.expires)
	}
	w.warned, w.ended = true, left == 0
	w.timer.Reset(w.next())
}

// warnExpiring says it to people.
func warnExpiring(env *Env, c certificate, expires time.Time) {
	line := fmt.Sprintf("%s certificate expires in %s", c.What, profile.RoundAge(expires.Sub(env.Now())))
	if c.Renew != "" {
		line += "; renew it, tshx need not be restarted: " + c.Renew
	}
	warn(env, "%s", line)
}
