package reversetunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Defaults and bounds of an Agent.
const (
	HeartbeatInterval = 5 * time.Minute // that of real agents
	handshakeTimeout  = 10 * time.Second
	announceTimeout   = 10 * time.Second
	drainTimeout      = 10 * time.Second
	leaveTimeout      = 2 * time.Second // for the proxies to hear that the agent leaves
)

// Identity is who an agent is.
type Identity struct {
	HostID  string // a UUID
	Cluster string
	// Signer has the host's certificate and key.
	Signer ssh.Signer
	// Authorities sign the host certificates of the cluster's proxies.
	Authorities []ssh.PublicKey
}

// Service is a resource with the way to it: Dial or Serve.
type Service struct {
	Resource
	// Dial connects to the resource. ctx ends when the client gives up.
	Dial func(ctx context.Context, r DialRequest) (net.Conn, error)
	// Serve, where Dial is nil, takes the stream itself and owns it. It may return
	// before the stream ends.
	Serve func(ctx context.Context, c net.Conn)
}

// Agent keeps tunnels to the proxies of a cluster and serves what they ask for.
type Agent struct {
	// Dial opens a connection to some proxy of the cluster, on Route.
	Dial func(ctx context.Context) (net.Conn, error)
	// Identity is called for each tunnel, so that a renewed one is seen.
	Identity func() (Identity, error)
	Services []Service
	// Version is what the agent calls its release. Empty: a neutral one.
	Version   string
	Heartbeat time.Duration // zero: HeartbeatInterval
	Drain     time.Duration // how long streams may go on after the end; zero: 10 s
	// Up is called when a proxy knows what the agent serves. Nil is for nobody.
	Up func(proxyID string)
	// Retry is called when a try has failed, once for each cause in a row.
	Retry func(err error)
	Log   *slog.Logger // nil drops everything

	mu      sync.Mutex
	tunnels []*tunnel
	wanted  []string // IDs of the last discovery
	failed  int      // tries in a row
	was     bool     // some proxy has known what there is
	final   error    // no try will help
	cause   string   // of the last failure
	repeats int
	wake    chan struct{}
}

// Run keeps the tunnels until ctx ends. Then it tells the proxies, waits for the
// streams that are open, and returns nil; those that last longer are cut.
//
// Before the first tunnel stands, an answer that another try will not change
// (a *RefusedError, an *UntrustedError) ends it too.
func (a *Agent) Run(ctx context.Context) error {
	a.wake = make(chan struct{}, 1)
	var running sync.WaitGroup
	defer running.Wait()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	for ctx.Err() == nil {
		if err := a.given(); err != nil {
			return err
		}
		if !a.need() {
			a.retire()
			select {
			case <-a.wake:
			case <-ctx.Done():
			}
			continue
		}
		if !a.rest(ctx) {
			break
		}
		t, err := a.connect(ctx)
		if err == nil {
			err = a.add(t)
		}
		if err == nil {
			running.Go(func() { a.run(life, t) })
			continue
		}
		if ctx.Err() == nil && a.failure(err) {
			return err
		}
	}
	a.leave()
	return nil
}

// given returns why the agent has given up; nil if it has not.
func (a *Agent) given() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.final
}

// need reports whether a proxy is without a tunnel.
func (a *Agent) need() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	live := a.live()
	return len(live) == 0 || slices.ContainsFunc(a.wanted, func(id string) bool { return !slices.Contains(live, id) })
}

// live lists the proxies that have a tunnel which stays. a.mu is held.
func (a *Agent) live() []string {
	var ids []string
	for _, t := range a.tunnels {
		if !t.draining {
			ids = append(ids, t.proxyID)
		}
	}
	return ids
}

// rest waits before a try, and reports whether there is to be one.
func (a *Agent) rest(ctx context.Context) bool {
	a.mu.Lock()
	d := pause(a.failed)
	if a.failed == 0 && !a.was {
		d = 0
	}
	a.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errDuplicate: a balancer led to a proxy that has a tunnel already.
var errDuplicate = errors.New("this proxy has a tunnel already")

// add takes a tunnel, unless its proxy has one.
func (a *Agent) add(t *tunnel) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Contains(a.live(), t.proxyID) {
		t.wire.Close()
		return fmt.Errorf("proxy %s: %w", t.proxyID, errDuplicate)
	}
	t.failed, t.since = a.failed, time.Now()
	a.tunnels = append(a.tunnels, t)
	return nil
}

// up is called when the proxy of t knows what there is.
func (a *Agent) up(t *tunnel) {
	a.mu.Lock()
	a.log().Info("tunnel up", "proxy", t.proxyID, "tries", a.repeats+1)
	a.failed, a.was, a.cause, a.repeats = 0, true, "", 0
	a.mu.Unlock()
	if a.Up != nil {
		a.Up(t.proxyID)
	}
}

// run serves a tunnel to its end.
func (a *Agent) run(ctx context.Context, t *tunnel) {
	err := t.serve(ctx)
	a.mu.Lock()
	a.tunnels = slices.DeleteFunc(a.tunnels, func(o *tunnel) bool { return o == t })
	early, replaced := time.Since(t.since) < stable, t.draining
	if early {
		a.failed = max(a.failed, t.failed)
	}
	a.mu.Unlock()
	switch {
	case replaced || ctx.Err() != nil:
		a.log().Info("tunnel ended", "proxy", t.proxyID)
	case early && a.failure(err):
		a.mu.Lock()
		a.final = err
		a.mu.Unlock()
	case !early:
		a.log().Warn("tunnel lost", "proxy", t.proxyID, "err", err)
	}
	a.nudge()
}

// failure takes account of a try that failed, tells of it unless that was the
// last cause too, and reports whether it is final.
func (a *Agent) failure(err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed++
	if errors.Is(err, errDuplicate) {
		return false // no failure: the balancer is to choose again
	}
	if !a.was && final(err) {
		return true
	}
	a.repeats++
	if err.Error() != a.cause {
		a.cause = err.Error()
		a.log().Warn("no tunnel", "err", err)
		if a.Retry != nil {
			a.Retry(err)
		}
	}
	return false
}

// discovered takes the list of proxies that one of them sent.
func (a *Agent) discovered(ids []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(ids, a.wanted) {
		a.log().Debug("proxies of the cluster", "proxies", ids)
	}
	a.wanted = ids
	a.nudge()
}

// drain has t replaced by a new tunnel.
func (a *Agent) drain(t *tunnel) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t.draining = true
	a.log().Info("the proxy asks for a new tunnel", "proxy", t.proxyID)
	a.nudge()
}

// nudge has Run look again. a.mu may be held.
func (a *Agent) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// retire ends the tunnels that have been replaced, once their streams have.
func (a *Agent) retire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tunnels {
		if t.draining && !t.retired {
			t.retired = true
			go t.streams.WhenIdle(func() { go t.finish() })
		}
	}
}

func (a *Agent) list() []*tunnel {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.tunnels)
}

// leave ends all tunnels: no new streams, and some time for the old ones.
func (a *Agent) leave() {
	var told, idle sync.WaitGroup
	for _, t := range a.list() {
		a.mu.Lock()
		t.draining = true
		a.mu.Unlock()
		told.Go(t.farewell)
	}
	told.Wait()
	bound := time.AfterFunc(cmp.Or(a.Drain, drainTimeout), func() {
		for _, t := range a.list() {
			a.log().Warn("streams cut", "proxy", t.proxyID, "streams", t.streams.Len())
			t.wire.Close()
		}
	})
	defer bound.Stop()
	for _, t := range a.list() {
		idle.Add(1)
		t.streams.WhenIdle(func() {
			go func() {
				t.finish()
				idle.Done()
			}()
		})
	}
	idle.Wait()
}

func (a *Agent) log() *slog.Logger {
	if a.Log != nil {
		return a.Log
	}
	return slog.New(slog.DiscardHandler)
}
