package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// container is the process to attach to, its output, and where exec starts.
type container struct {
	dir   string
	log   string // file that the output goes to
	stdin io.Writer

	mu       sync.Mutex
	attached map[io.Writer]chan struct{} // closed when the writer is broken
	ended    chan struct{}
}

// startContainer starts the process; it ends with this program.
func startContainer(s settings) (*container, error) {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	c := &container{dir: s.dir, log: s.log, attached: map[io.Writer]chan struct{}{}, ended: make(chan struct{})}
	argv := s.command
	if len(argv) == 0 {
		argv = []string{"cat"}
	}
	p := exec.Command(argv[0], argv[1:]...)
	p.Dir = s.dir
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out := &tee{log: log, c: c}
	p.Stdout, p.Stderr = out, out
	if c.stdin, err = p.StdinPipe(); err != nil {
		log.Close()
		return nil, err
	}
	if err := start(p.Start); err != nil {
		log.Close()
		return nil, err
	}
	go func() {
		p.Wait() // how it ended does not matter to those attached
		log.Close()
		close(c.ended)
	}()
	return c, nil
}

// tee writes to the log and then to everybody who is attached.
type tee struct {
	log io.Writer
	c   *container
}

func (t *tee) Write(b []byte) (int, error) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	n, err := t.log.Write(b)
	for w, broken := range t.c.attached {
		if _, err := w.Write(b); err != nil {
			delete(t.c.attached, w)
			close(broken)
		}
	}
	return n, err
}

// AttachContainer joins the process until that ends or the client is gone,
// which shows when there is something to write to it. The end of the client's
// standard input is not the end of the process's.
func (c *container) AttachContainer(_ context.Context, _, _, _ string, in io.Reader, out, errs io.WriteCloser,
	_ bool, _ <-chan remotecommand.TerminalSize) error {
	if out == nil {
		out = errs
	}
	broken := make(chan struct{})
	if out != nil {
		c.mu.Lock()
		c.attached[out] = broken
		c.mu.Unlock()
	}
	if in != nil {
		go io.Copy(c.stdin, in)
	}
	select {
	case <-c.ended:
	case <-broken:
	}
	return nil
}

// starter runs what it is given on one thread that lives as long as this
// program: the kernel takes a thread's end for that of the parent.
var starter = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for job := range jobs {
			job()
		}
	}()
	return jobs
})

// start calls f, which starts a program that is to end with this one.
func start(f func() error) error {
	errs := make(chan error)
	starter() <- func() { errs <- f() }
	return <-errs
}
