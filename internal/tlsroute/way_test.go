package tlsroute_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tshx/internal/proxyserver"
	"tshx/internal/tlsroute"
	"tshx/internal/upgrade"
)

// Many dials to a proxy that says nothing wait for one test, not in line.
func TestFinderSharesAHungTest(t *testing.T) {
	var accepted atomic.Int32
	addr := serve(t, func(c net.Conn) { accepted.Add(1); io.Copy(io.Discard, c); c.Close() })
	f := &tlsroute.Finder{Target: upgrade.Target{Addr: addr}}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if w := f.Find(ctx); w.Upgrade || w.Evidence != upgrade.EvidenceError {
				t.Errorf("Find = %+v", w)
			}
		})
	}
	for accepted.Load() == 0 {
		runtime.Gosched()
	}
	cancel()
	wg.Wait()
	if n := accepted.Load(); n > 2 {
		t.Errorf("%d test connections for 20 callers", n)
	}
}

// The upgrade that worked is remembered on an old login's word too, which is
// then a finding of ours.
func TestFinderRemembersMethodForOldProfile(t *testing.T) {
	w := newWorld(t, proxyserver.V14())
	w.replace(w.balancer())
	d := w.dialer()
	d.Finder.Profile = &tlsroute.Way{Upgrade: true, At: time.Now().Add(-25 * time.Hour)}
	c, err := d.Dial(t.Context(), echoRoute(t))
	if err != nil {
		t.Fatal(err)
	}
	checkEcho(t, c)
	if way, ok := d.Finder.Known(); !ok || way.Method != upgrade.Legacy || way.Evidence != upgrade.EvidenceUpgraded {
		t.Errorf("Known = %+v, %v", way, ok)
	}
}

func TestFinderPrecedence(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const addr = "proxy.example.com:443"
	at := func(age time.Duration, up bool) *tlsroute.Way { return &tlsroute.Way{Upgrade: up, At: now.Add(-age)} }
	for name, tt := range map[string]struct {
		env            string
		profile, store *tlsroute.Way
		known          bool
		upgrade        bool
		source         tlsroute.Source
	}{
		"nothing":                  {},
		"environment":              {env: "yes", profile: at(0, false), store: at(0, false), known: true, upgrade: true, source: tlsroute.SourceEnv},
		"environment, this host":   {env: addr + "=on;no", known: true, upgrade: true, source: tlsroute.SourceEnv},
		"environment, other host":  {env: "other:443=on", known: true, source: tlsroute.SourceEnv},
		"profile":                  {profile: at(1000*time.Hour, true), known: true, upgrade: true, source: tlsroute.SourceProfile},
		"memory":                   {store: at(time.Hour, true), known: true, upgrade: true, source: tlsroute.SourceMemory},
		"memory too old":           {store: at(25*time.Hour, true)},
		"memory newer than login":  {profile: at(2*time.Hour, false), store: at(time.Hour, true), known: true, upgrade: true, source: tlsroute.SourceMemory},
		"login newer than memory":  {profile: at(time.Hour, false), store: at(2*time.Hour, true), known: true, source: tlsroute.SourceProfile},
		"memory of the future":     {store: at(-time.Hour, true)},
		"memory too old for login": {profile: at(100*time.Hour, true), store: at(25*time.Hour, false), known: true, upgrade: true, source: tlsroute.SourceProfile},
	} {
		t.Run(name, func(t *testing.T) {
			f := tlsroute.Finder{
				Target:  upgrade.Target{Addr: addr},
				Getenv:  func(n string) string { return map[string]string{upgrade.EnvRequired: tt.env}[n] },
				Profile: tt.profile,
				Store:   &tlsroute.Store{Path: filepath.Join(t.TempDir(), "sub", "ways.json")},
				Now:     func() time.Time { return now },
			}
			if tt.store != nil {
				if err := f.Store.Put(addr, *tt.store); err != nil {
					t.Fatal(err)
				}
			}
			w, ok := f.Known()
			if ok != tt.known || (ok && (w.Upgrade != tt.upgrade || w.Source != tt.source)) {
				t.Errorf("Known = %+v, %v", w, ok)
			}
		})
	}
}

// What one process found out serves the next one, the method included.
func TestStoreAcrossProcesses(t *testing.T) {
	w := newWorld(t, proxyserver.V14())
	w.replace(w.balancer())
	store := &tlsroute.Store{Path: filepath.Join(t.TempDir(), "ways.json")}
	first := w.dialer()
	first.Finder.Store = store
	c, err := first.Dial(t.Context(), echoRoute(t))
	if err != nil {
		t.Fatal(err)
	}
	checkEcho(t, c)
	next := &tlsroute.Finder{Target: upgrade.Target{Addr: w.Addr}, Store: store}
	if way, ok := next.Known(); !ok || !way.Upgrade || way.Method != upgrade.Legacy || way.Source != tlsroute.SourceMemory {
		t.Errorf("Known = %+v, %v", way, ok)
	}
	if info, err := os.Stat(store.Path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("store: %v, %v", info.Mode(), err)
	}
}

func TestStoreBroken(t *testing.T) {
	for name, content := range map[string]string{"garbage": "{", "other version": `{"version":9,"ways":{"a:1":{"upgrade":true}}}`, "empty": ""} {
		t.Run(name, func(t *testing.T) {
			s := &tlsroute.Store{Path: filepath.Join(t.TempDir(), "ways.json")}
			if err := os.WriteFile(s.Path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if w, ok := s.Get("a:1"); ok {
				t.Errorf("Get = %+v", w)
			}
			if err := s.Put("a:1", tlsroute.Way{Upgrade: true}); err != nil {
				t.Fatal(err)
			}
			if w, ok := s.Get("a:1"); !ok || !w.Upgrade {
				t.Errorf("Get = %+v, %v", w, ok)
			}
		})
	}
	var none *tlsroute.Store
	if _, ok := none.Get("a:1"); ok || none.Put("a:1", tlsroute.Way{}) != nil {
		t.Error("a nil store must remember nothing and not fail")
	}
}
