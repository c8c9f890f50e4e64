//go:build linux

package peer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// stopTime is how long a server may take to end before it is killed.
const stopTime = 5 * time.Second

// process is a running program in a process group of its own.
type process struct {
	cmd    *exec.Cmd
	output *buffer
	done   chan struct{} // closed when the program has ended and err is set
	err    error
	stop   syscall.Signal
}

// spawner starts every program on one thread that lives as long as this
// process: the kernel delivers a parent-death signal when the parent thread
// ends, and Go ends threads as it likes.
var spawner = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for job := range jobs {
			job()
		}
	}()
	return jobs
})

// Spawn starts cmd so that it is killed when this process dies, however that
// happens. It keeps what cmd.SysProcAttr already asks for.
func Spawn(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	errs := make(chan error)
	spawner() <- func() { errs <- cmd.Start() }
	return <-errs
}

// run starts argv in dir as the given system user (only when this process is
// root; empty means as this process), in a process group of its own.
func run(dir, asUser string, stop syscall.Signal, argv []string) (*process, error) {
	p := &process{
		cmd: exec.Command(argv[0], argv[1:]...), output: &buffer{},
		done: make(chan struct{}), stop: stop,
	}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	// Grandchildren that outlive the program must not hold Wait back.
	p.cmd.WaitDelay = time.Second
	cred, err := credential(asUser)
	if err != nil {
		return nil, err
	}
	// A server that ends its children only on an orderly stop gets one.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: stop, Credential: cred}
	if err := Spawn(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// end asks the program to stop, waits, and kills what is left of its group.
func (p *process) end() {
	p.cmd.Process.Signal(p.stop)
	select {
	case <-p.done:
	case <-time.After(stopTime):
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// ended reports whether the program has ended by itself.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// command runs argv to its end as the given system user.
func command(dir, asUser string, argv ...string) error {
	p, err := run(dir, asUser, syscall.SIGTERM, argv)
	if err != nil {
		return err
	}
	<-p.done
	if p.err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], p.err, tail(p.output.String(), 10))
	}
	return nil
}

// credential returns who a server runs as: nil for the user of this process.
func credential(name string) (*syscall.Credential, error) {
	if name == "" || os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// own makes a directory below dir that belongs to the given system user.
func own(path, name string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	cred, err := credential(name)
	if err != nil || cred == nil {
		return err
	}
	return os.Chown(path, int(cred.Uid), int(cred.Gid))
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
