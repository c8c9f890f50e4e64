//go:build linux

package integration

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// The soak test is bounded by both; `make soak` raises them.
var (
	soakCount = flag.Int("soak.count", 300, "connections of the soak test")
	soakTime  = flag.Duration("soak.time", 40*time.Second, "most time that the soak test opens connections")
	soakSeed  = flag.Uint64("soak.seed", 0, "seed of the soak test; 0 picks one")
)

// soakWorkers are the clients at work at one time.
const soakWorkers = 8

// TestSoak uses one tshx for all that may happen to it, in random order:
// transfers by checksum, half-closes, clients that reset, connections that are
// cut on the way to the proxy, balancers that come and go, new certificates.
// A transfer may fail only when its connection was cut, and then must fail. At
// the end no descriptor and no goroutine of a connection is left.
func TestSoak(t *testing.T) {
	need(t, "nginx", "haproxy")
	nothingLeft(t)
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-soak.seed %d", seed)
	s := newSoak(t)
	var workers sync.WaitGroup
	stop := make(chan struct{})
	var disturber sync.WaitGroup
	disturber.Go(func() { s.disturb(rand.New(rand.NewPCG(seed, 0)), stop) })
	for i := range soakWorkers {
		workers.Go(func() { s.work(rand.New(rand.NewPCG(seed, uint64(i)+1))) })
	}
	workers.Wait()
	close(stop)
	disturber.Wait()
	t.Logf("%d connections, %d of them cut, %d reset by the client; %d disturbances; %d MiB",
		s.count.Load(), s.failed.Load(), s.resets.Load(), s.events.Load(), s.bytes.Load()>>20)
	s.nothingLeaks()
}

type soak struct {
	t       *testing.T
	tr      *transport
	cluster *cluster
	board   *switchboard
	targets []string
	tshx    *program
	addr    map[string]string // of the local listeners
	ready   int               // descriptors of the idle program
	until   time.Time

	// cuts counts the cuts. A transfer notes it at its beginning.
	cuts                          atomic.Int64
	count, failed, resets, events atomic.Int64
	bytes                         atomic.Int64
}

// newSoak starts a proxy that is reached directly, through a layer-7 and
// through a layer-4 balancer in turn, and tshx in front of it.
func newSoak(t *testing.T) *soak {
	c := modern.get(t)
	s := &soak{t: t, cluster: c, targets: []string{c.direct}, addr: map[string]string{}, until: time.Now().Add(*soakTime)}
	plan, err := c.balancer(c.direct)
	check(t, err)
	for _, front := range []func(peer.Balancer) (*peer.Server, error){peer.Balancer.Nginx, peer.Balancer.HAProxyTCP} {
		b, err := front(plan)
		check(t, err)
		t.Cleanup(b.Close)
		s.targets = append(s.targets, b.Addr)
	}
	s.board = newSwitchboard(t, c.direct)
	s.tr, err = c.login(at("localhost", s.board.addr), lab.HomeOptions{})
	check(t, err)
	s.tshx = launch(t, s.tr.options(), tshxPath, "proxy", "app", "bulk")
	s.addr["bulk"] = s.tshx.lineAfter("address: ")
	if err := bulk(dial(t, s.addr["bulk"]), 1, 1); err != nil { // what is loaded once is loaded now
		t.Fatal(err)
	}
	if !eventually(patience, func() bool { s.ready = s.descriptors(); return s.connections() == 0 }) {
		t.Fatal("the first connection does not end")
	}
	return s
}

// work opens connections one after the other, of all kinds.
func (s *soak) work(r *rand.Rand) {
	for time.Now().Before(s.until) {
		if s.count.Add(1) > int64(*soakCount) {
			s.count.Add(-1)
			return
		}
		up, down := r.Int64N(3<<20), r.Int64N(3<<20)
		switch r.IntN(10) {
		case 0:
			s.resetMidway(r, up)
		case 1:
			up = 0 // half-closed at once
			s.transfer(up, down)
		case 2:
			down = 0
			s.transfer(up, down)
		default:
			s.transfer(up>>r.IntN(20), down>>r.IntN(20))
		}
	}
}

// transfer compares checksums. It may fail only when a cut came in between.
func (s *soak) transfer(up, down int64) {
	before := s.cuts.Load()
	c, err := net.Dial("tcp", s.addr["bulk"])
	if err != nil {
		s.t.Errorf("connect: %v", err)
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	err = bulk(c, up, down)
	if err == nil {
		s.bytes.Add(up + down)
		return
	}
	if s.cuts.Load() == before {
		s.t.Errorf("%d bytes up, %d down: %v", up, down, err)
	}
	s.failed.Add(1)
}

// resetMidway is a client that goes away amid a transfer.
func (s *soak) resetMidway(r *rand.Rand, up int64) {
	c, err := net.Dial("tcp", s.addr["bulk"])
	if err != nil {
		s.t.Errorf("connect: %v", err)
		return
	}
	c.Write([]byte{0, 0, 0, 0, 0, 0x10, 0, 0}) // 1 MiB, please
	sendNoise(c, up/4)
	io.CopyN(io.Discard, c, r.Int64N(1<<19))
	reset(c.(*net.TCPConn))
	s.resets.Add(1)
}

// disturb changes the world in between.
func (s *soak) disturb(r *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(r.IntN(300)) * time.Millisecond):
		}
		s.events.Add(1)
		switch r.IntN(6) {
		case 0, 1, 2:
			s.board.to(s.targets[r.IntN(len(s.targets))])
		case 3:
			// Twice, because what was connected during the cut counts too.
			s.cuts.Add(1)
			s.board.cut()
			s.cuts.Add(1)
		default:
			if err := s.cluster.lab.WriteHome(s.tr.home, s.tr.addr, lab.HomeOptions{}); err != nil {
				s.t.Errorf("new certificates: %v", err)
			}
		}
	}
}

// nothingLeaks looks for descriptors, and for goroutines in what a Go program
// writes when it aborts.
func (s *soak) nothingLeaks() {
	s.t.Helper()
	if !eventually(patience, func() bool { return s.connections() == 0 }) {
		s.t.Errorf("%d connections are still open", s.connections())
	}
	// What is ready to run may still be on its way to its end.
	if !eventually(patience, s.sleeps) {
		s.t.Error("it does not come to rest")
	}
	if n := s.descriptors(); n > s.ready {
		s.t.Errorf("%d descriptors, %d before the first connection", n, s.ready)
	}
	s.tshx.signal(syscall.SIGABRT)
	if s.tshx.wait() == 0 {
		s.t.Error("did not quit")
	}
	stacks := s.tshx.stderr.String()
	if !strings.Contains(stacks, "goroutine 1 ") {
		s.t.Errorf("no stacks: %s", clip(stacks))
	}
	for _, g := range strings.Split(stacks, "\n\n") {
		if strings.Contains(g, "ServeConn") || strings.Contains(g, "conn.Splice") {
			s.t.Errorf("a goroutine of a connection is left:\n%s", g)
		}
	}
}

// sleeps reports whether each thread of the program waits for something
// (proc_pid_stat(5)).
func (s *soak) sleeps() bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.tshx.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		s.t.Fatalf("no threads: %v", err)
	}
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			s.t.Fatal(err)
		}
		if _, state, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(state, "S") {
			return false
		}
	}
	return true
}

// descriptors counts what the program has open.
func (s *soak) descriptors() int {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.tshx.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(open)
}

// connections counts the sockets of the program but for the listener.
func (s *soak) connections() (n int) {
	dir := fmt.Sprintf("/proc/%d/fd/", s.tshx.cmd.Process.Pid)
	open, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, fd := range open {
		to, err := os.Readlink(dir + fd.Name())
		if err == nil && strings.HasPrefix(to, "socket:") {
			n++
		} else if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Fatal(err)
		}
	}
	return n - 1
}
