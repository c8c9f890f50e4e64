package main

import (
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tshx/internal/localproxy"
)

// listenAsNobody listens as another user: the user ids of a thread are its own,
// and it ends with the goroutine.
func listenAsNobody(t *testing.T) net.Listener {
	t.Helper()
	var ln net.Listener
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			err = errno
			return
		}
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// A resource's own port that another user has taken is not left to that user.
func TestSquattedPort(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("only root can listen as another user")
		}
		t.Skip("only root can listen as another user")
	}
	env, talk := testEnv()
	port := uint16(listenAsNobody(t).Addr().(*net.TCPAddr).Port)
	f := &listenFlags{PortRange: portRange{port, port}}
	ln, err := f.listen(env, []string{"orders"})
	if err == nil {
		ln.Close()
	}
	var squatted *localproxy.PortSquattedError
	if !errors.As(err, &squatted) || exitCode(err) != exitFailure || talk.Len() > 0 {
		t.Fatalf("listen = %v, said %q", err, talk)
	}
	line := explain(err)
	for _, want := range []string{"user nobody", "--port,", "--port-range"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in %q", want, line)
		}
	}
}
