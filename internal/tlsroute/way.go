package tlsroute

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tshx/internal/upgrade"
)

// WayMaxAge is how long a remembered way is taken without a new test.
const WayMaxAge = 24 * time.Hour

// Source says where a Way comes from.
type Source string

const (
	SourceEnv     Source = "environment" // decides alone, is never tested
	SourceProfile Source = "profile"     // the login's own test
	SourceMemory  Source = "memory"      // an earlier test of ours
	SourceTest    Source = "test"        // a test connection just now
)

// Way is how the proxy is reached, and why we think so.
type Way struct {
	Upgrade  bool           `json:"upgrade"`            // TLS ends at a balancer: tunnel through an HTTP upgrade
	Method   upgrade.Method `json:"method,omitempty"`   // the upgrade that worked last; empty if none has
	Evidence string         `json:"evidence,omitempty"` // an Evidence constant of package upgrade; empty if there was no test of ours
	Detail   string         `json:"detail,omitempty"`   // the evidence for people
	Source   Source         `json:"source"`
	At       time.Time      `json:"at"` // when the evidence was taken; zero for SourceEnv
}

// String names the way for logs: "raw", "upgrade", "upgrade websocket".
func (w Way) String() string {
	switch {
	case !w.Upgrade:
		return "raw"
	case w.Method == upgrade.Auto:
		return "upgrade"
	}
	return "upgrade " + string(w.Method)
}

// Finder finds the way to one proxy and remembers it. The zero values of all
// fields but Target are usable. It is safe for concurrent use.
type Finder struct {
	Target upgrade.Target
	// Getenv reads upgrade.EnvRequired and upgrade.EnvMethod. Nil means no environment.
	Getenv func(string) string
	// Profile is what the login on disk says, with the time it was written.
	// Nil means it says nothing.
	Profile *Way
	// Store keeps ways across processes. Nil means in this process only.
	Store *Store
	Log   *slog.Logger
	Now   func() time.Time

	mu     sync.Mutex
	way    *Way      // what this process found out
	tested time.Time // start of the last test
}

// Known returns the way without any network traffic. ok is false if a test is
// needed.
//
// The environment decides alone. Otherwise the newer of the profile's word and
// our own memory counts, because only a failed dial or a new login changes
// either.
func (f *Finder) Known() (w Way, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known()
}

func (f *Finder) known() (Way, bool) {
	if f.Getenv != nil {
		if required, decided := upgrade.FromEnv(f.Getenv(upgrade.EnvRequired), f.Target.Addr); decided {
			w := Way{Upgrade: required, Source: SourceEnv}
			if f.way != nil && f.way.Upgrade == required {
				w.Method = f.way.Method
			}
			return w, true
		}
	}
	if f.way != nil && f.now().Sub(f.way.At) < WayMaxAge {
		return *f.way, true
	}
	mem, ok := f.Store.Get(f.Target.Addr)
	ok = ok && f.now().Sub(mem.At) < WayMaxAge
	if p := f.Profile; p != nil && (!ok || p.At.After(mem.At)) {
		w := *p
		w.Source = SourceProfile
		if ok && mem.Upgrade == w.Upgrade {
			w.Method = mem.Method
		}
		return w, true
	}
	mem.Source = SourceMemory
	return mem, ok
}

// Find returns the known way, or tests the proxy. A test that learns nothing
// (EvidenceError) means raw, and is not remembered.
func (f *Finder) Find(ctx context.Context) Way {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w, ok := f.known(); ok {
		f.log().Debug("way to the proxy", "remote", f.Target.Addr, "way", w.String(), "source", w.Source, "evidence", w.Evidence, "detail", w.Detail, "since", w.At)
		return w
	}
	return f.test(ctx)
}

// Again tests the proxy anew after a dial that began at began failed on the
// way old. It returns the way to try instead, and false if there is none: the
// environment forbids it, or the test did not contradict old.
func (f *Finder) Again(ctx context.Context, old Way, began time.Time) (Way, bool) {
	if old.Source == SourceEnv {
		return old, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w := old
	switch {
	case f.way != nil && f.tested.After(began):
		w = *f.way // another dial has tested since
	case f.tested.After(began):
		return old, false // and learned nothing
	default:
		if w = f.test(ctx); w.Evidence == upgrade.EvidenceError {
			return old, false
		}
	}
	return w, w.Upgrade != old.Upgrade
}

// test must be called with f.mu held.
func (f *Finder) test(ctx context.Context) Way {
	f.tested = f.now()
	v := f.Target.Test(ctx)
	w := Way{Upgrade: v.Required, Evidence: v.Evidence, Detail: v.Detail, Source: SourceTest, At: f.now()}
	f.log().Debug("test connection", "remote", f.Target.Addr, "way", w.String(), "evidence", w.Evidence, "detail", w.Detail, "dur", w.At.Sub(f.tested))
	if v.Evidence == upgrade.EvidenceError {
		f.way = nil
		return w
	}
	f.keep(w)
	return w
}

// method returns the upgrade to ask for on way w, and whether the environment
// insists on it.
func (f *Finder) method(w Way) (m upgrade.Method, forced bool) {
	if f.Getenv != nil {
		if m := upgrade.MethodFromEnv(f.Getenv(upgrade.EnvMethod)); m != upgrade.Auto {
			return m, true
		}
	}
	return w.Method, false
}

// worked remembers which upgrade worked on way w.
func (f *Finder) worked(w Way, m upgrade.Method) {
	if w.Method == m || w.Evidence == upgrade.EvidenceError {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Method = m
	if w.At.IsZero() {
		w.At = f.now()
	}
	f.keep(w)
}

func (f *Finder) keep(w Way) {
	f.way = &w
	if w.Source == SourceEnv {
		return // somebody's will, not a finding
	}
	if err := f.Store.Put(f.Target.Addr, w); err != nil {
		f.log().Debug("remember the way", "err", err)
	}
}

func (f *Finder) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

func (f *Finder) log() *slog.Logger {
	if f.Log != nil {
		return f.Log
	}
	return slog.New(slog.DiscardHandler)
}
