package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tshx/internal/event"
)

type closingBuffer struct{ bytes.Buffer }

func (*closingBuffer) Close() error { return nil }

// shelf is a place for the certificate on disk.
type shelf struct {
	mu   sync.Mutex
	cert *tls.Certificate
	read int
}

func (s *shelf) put(serial string, expires time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cert = &tls.Certificate{Leaf: &x509.Certificate{Raw: []byte(serial), NotAfter: expires}}
}

func (s *shelf) get() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read++
	if time.Now().After(s.cert.Leaf.NotAfter) {
		return nil, errors.New("expired")
	}
	return s.cert, nil
}

// TestCertWatch plays the life of certificates: what is told is the time since
// the start and the event.
func TestCertWatch(t *testing.T) {
	tests := map[string]struct {
		ttl  time.Duration // of the first certificate
		play func(w *certWatch, s *shelf)
		want []string
		warn int
	}{
		"nobody renews": {time.Hour, func(*certWatch, *shelf) {
			time.Sleep(24 * time.Hour)
		}, []string{"45m0s cert_expiring 900", "1h0m0s cert_expiring 0"}, 1},
		"renewed in time": {time.Hour, func(_ *certWatch, s *shelf) {
			time.Sleep(30 * time.Minute)
			s.put("2", time.Now().Add(2*time.Hour))
			time.Sleep(30 * time.Minute) // seen by the timer
			time.Sleep(time.Hour)
		}, []string{"45m0s cert_renewed"}, 0},
		"a dial sees it": {time.Hour, func(w *certWatch, s *shelf) {
			w.Certificate()
			time.Sleep(10 * time.Minute)
			s.put("2", time.Now().Add(time.Hour))
			w.Certificate()
			w.Certificate()
			time.Sleep(50 * time.Minute)
		}, []string{"10m0s cert_renewed", "55m0s cert_expiring 900"}, 1},
		"renewed after the warning, plain mode": {time.Hour, func(w *certWatch, s *shelf) {
			w.Connected() // nothing to look for yet
			time.Sleep(50 * time.Minute)
			s.put("2", time.Now().Add(time.Hour))
			w.Connected()
			time.Sleep(40 * time.Minute)
		}, []string{"45m0s cert_expiring 900", "50m0s cert_renewed"}, 1},
		"short from the start": {5 * time.Minute, func(w *certWatch, s *shelf) {
			time.Sleep(5*time.Minute + time.Second)
			s.put("2", time.Now().Add(time.Hour))
			w.Certificate()
		}, []string{"0s cert_expiring 300", "5m0s cert_expiring 0", "5m1s cert_renewed"}, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var out closingBuffer
				w := event.NewWriter(&out)
				s := &shelf{}
				s.put("1", start.Add(tt.ttl))
				var warned atomic.Int32
				watch := &certWatch{Read: s.get, Events: w, Warn: func(time.Time) { warned.Add(1) }}
				watch.Start(start.Add(tt.ttl))
				tt.play(watch, s)
				watch.Stop()
				w.Close()
				if diff := cmp.Diff(tt.want, told(t, start, out.Bytes())); diff != "" {
					t.Error(diff)
				}
				if n := int(warned.Load()); n != tt.warn {
					t.Errorf("warned %d times, want %d", n, tt.warn)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.read > 6 {
					t.Errorf("the certificate was read %d times", s.read)
				}
			})
		})
	}
}

func told(t *testing.T, start time.Time, lines []byte) []string {
	t.Helper()
	var all []string
	for line := range bytes.Lines(lines) {
		var e struct {
			Time  time.Time
			Event string
			Left  *int64 `json:"seconds_left"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(e.Time.Sub(start), " ", e.Event)
		if e.Left != nil {
			text += fmt.Sprint(" ", *e.Left)
		}
		all = append(all, text)
	}
	return all
}
