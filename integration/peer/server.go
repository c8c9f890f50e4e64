//go:build linux

package peer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	startTime  = 60 * time.Second      // from start to the first good answer
	probeEvery = 20 * time.Millisecond // between two looks at a starting server
	portTries  = 5                     // ports tried when others take them first
)

// Server is a running server of another make.
type Server struct {
	Addr  string   // 127.0.0.1:port
	Addrs []string // all its listeners; Addr is the first
	Dir   string   // its own directory, removed by Close
	proc  *process
}

// Pid returns the process id of the server.
func (s *Server) Pid() int { return s.proc.cmd.Process.Pid }

// Log returns what the server has written to its output so far.
func (s *Server) Log() string { return s.proc.output.String() }

// Close ends the server and all its children and removes its directory.
func (s *Server) Close() {
	s.proc.end()
	os.RemoveAll(s.Dir)
}

// blueprint says how to start one kind of server.
type blueprint struct {
	name  string
	user  string // system user to run as when this process is root
	ports []int  // wanted ports; 0 picks a free one
	// prepare fills dir before the first start. May be nil.
	prepare func(dir string) error
	// argv writes what depends on the addresses and returns the command line.
	argv func(dir string, addrs []string) ([]string, error)
	// ready speaks the protocol of the server. Nil connects to each port.
	ready func(ctx context.Context, addrs []string) error
	stop  syscall.Signal // zero: SIGTERM
}

// start runs the server and returns once it answers. A server that gives up
// before that is started again on another port where the choice is ours:
// foreign servers cannot be handed a listener, so somebody else may take the
// port between the choice and the bind.
func (b blueprint) start() (*Server, error) {
	dir, err := tempDir(b.name)
	if err != nil {
		return nil, err
	}
	s, err := b.startIn(dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start %s: %w", b.name, err)
	}
	return s, nil
}

func (b blueprint) startIn(dir string) (*Server, error) {
	if b.prepare != nil {
		if err := b.prepare(dir); err != nil {
			return nil, err
		}
	}
	if b.stop == 0 {
		b.stop = syscall.SIGTERM
	}
	var err error
	for range portTries {
		var s *Server
		if s, err = b.try(dir); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func (b blueprint) try(dir string) (*Server, error) {
	addrs, err := addresses(b.ports)
	if err != nil {
		return nil, err
	}
	argv, err := b.argv(dir, addrs)
	if err != nil {
		return nil, err
	}
	if argv[0], err = Find(argv[0]); err != nil {
		return nil, err
	}
	p, err := run(dir, b.user, b.stop, argv)
	if err != nil {
		return nil, err
	}
	if err := b.await(p, addrs); err != nil {
		p.end()
		return nil, fmt.Errorf("%w; its last words: %s", err, tail(p.output.String(), 15))
	}
	return &Server{Addr: addrs[0], Addrs: addrs, Dir: dir, proc: p}, nil
}

// await returns when the server answers, or an error when it has ended or
// startTime has passed.
func (b blueprint) await(p *process, addrs []string) error {
	ready := b.ready
	if ready == nil {
		ready = connects
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		err := ready(ctx, addrs)
		if p.ended() {
			return fmt.Errorf("it ended: %w", errors.Join(p.err, err))
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", err)
		case <-tick.C:
		case <-p.done:
		}
	}
}

func connects(ctx context.Context, addrs []string) error {
	for _, a := range addrs {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", a)
		if err != nil {
			return err
		}
		c.Close()
	}
	return nil
}

func addresses(ports []int) ([]string, error) {
	if len(ports) == 0 {
		ports = []int{0}
	}
	var addrs []string
	for _, port := range ports {
		var err error
		if port == 0 {
			port, err = FreePort()
		}
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	return addrs, nil
}

// givenPorts are those that FreePort has returned, or found to be taken.
var givenPorts sync.Map

// FreePort returns a loopback port that nobody listens on now, for programs
// that cannot be handed a listener. It picks below the range from which the
// kernel takes the ports of outgoing connections, so that only another server
// can take it; none is given out twice.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := 10000 + rand.IntN(22000)
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue // whoever has it may not listen yet
		}
		var ln net.Listener
		if ln, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, ln.Close()
		}
	}
	return 0, err
}

// portOf returns the port of host:port.
func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}
