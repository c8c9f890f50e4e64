package tlsroute

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

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

	flight singleflight.Group // at most one test at a time

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
			w := Way{Upgrade: required, Source: SourceEnv, Detail: upgrade.EnvRequired + "=" + f.Getenv(upgrade.EnvRequired)}
			if f.way != nil && f.way.Upgrade == required {
				w.Method = f.way.Method
			}
			return w, true
		}
	}
	if f.way != nil && f.fresh(*f.way) {
		return *f.way, true
	}
	mem, ok := f.Store.Get(f.Target.Addr)
	ok = ok && f.fresh(mem)
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

// fresh reports whether a finding of ours may still be taken. One from the
// future was made by another clock.
func (f *Finder) fresh(w Way) bool {
	age := f.now().Sub(w.At)
	return age > -time.Minute && age < WayMaxAge
}

// Find returns the known way, or tests the proxy. A test that learns nothing
// (EvidenceError) means raw, and is not remembered. Callers share one test.
func (f *Finder) Find(ctx context.Context) Way {
	if w, ok := f.Known(); ok {
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
	w, tested := f.way, f.tested.After(began)
	f.mu.Unlock()
	switch {
	case !tested:
		if now := f.test(ctx); now.Evidence != upgrade.EvidenceError {
			return now, now.Upgrade != old.Upgrade
		}
	case w != nil: // another dial has tested since
		return *w, w.Upgrade != old.Upgrade
	}
	return old, false
}

// test makes a test connection, or waits for the one under way. Each dial of a
// client that retries would otherwise wait for all the tests before its own.
func (f *Finder) test(ctx context.Context) Way {
	done := f.flight.DoChan("", func() (any, error) {
		began := f.now()
		v := f.Target.Test(ctx)
		return f.judge(v, began), nil
	})
	select {
	case r := <-done:
		return r.Val.(Way)
	case <-ctx.Done():
		return Way{Evidence: upgrade.EvidenceError, Detail: context.Cause(ctx).Error(), Source: SourceTest, At: f.now()}
	}
}

// judge keeps what a test that began at began has found out.
func (f *Finder) judge(v upgrade.Verdict, began time.Time) Way {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tested = began
	w := Way{Upgrade: v.Required, Evidence: v.Evidence, Detail: v.Detail, Source: SourceTest, At: f.now()}
	f.log().Debug("test connection", "remote", f.Target.Addr, "way", w.String(), "evidence", w.Evidence, "detail", w.Detail, "dur", w.At.Sub(began))
	if v.Evidence == upgrade.EvidenceError {
		f.way = nil
		return w
	}
	if old, ok := f.known(); ok && old.Upgrade == w.Upgrade {
		w.Method = old.Method
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

// worked remembers which upgrade worked on way w, unless something newer says
// that none is needed.
func (f *Finder) worked(w Way, m upgrade.Method) {
	if w.Method == m || w.Evidence == upgrade.EvidenceError {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.way != nil && f.way.Upgrade != w.Upgrade {
		return
	}
	w.Method = m
	if w.Source != SourceTest && w.Source != SourceMemory {
		// Whoever said so, now we have seen it work.
		w.Evidence, w.At = upgrade.EvidenceUpgraded, f.now()
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
