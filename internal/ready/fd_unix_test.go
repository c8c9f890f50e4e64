//go:build unix

package ready

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inherited returns a duplicate of f as it is after exec.
func inherited(t *testing.T, f *os.File) int {
	t.Helper()
	fd, err := unix.Dup(int(f.Fd())) // without close-on-exec
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestOpenFD(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd := inherited(t, w)
	w.Close()
	f, err := OpenFD(fd)
	if err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("children would inherit it: %v", err)
	}
	io.WriteString(f, "ready")
	f.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "ready" {
		t.Errorf("read %q, %v", b, err)
	}
}

// What is no regular file would be replaced, which is never meant.
func TestFileOverSomethingElse(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := errors.Join(unix.Mkfifo("pipe", 0o600), os.Symlink("nowhere", "link"), os.Symlink(os.DevNull, "device")); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	// A device as such can only be made by root: /dev/null is tried where a
	// mistake would do no harm.
	paths := []string{"pipe", "link", "device", "socket"}
	if os.Geteuid() != 0 {
		paths = append(paths, os.DevNull)
	}
	for _, path := range paths {
		f, err := NewFile(path)
		if err == nil {
			f.Remove()
		}
		if !errors.Is(err, errNotRegular) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A service manager that does not read is not waited for.
func TestNotifyUnread(t *testing.T) {
	dir, err := os.MkdirTemp("", "tshx") // short, for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Skip(err) // a system without
	}
	defer ln.Close()
	for err == nil { // until its queue is full
		err = Notify(name, "READY=1")
	}
	// Linux waits, others say at once that there is no room.
	if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, unix.ENOBUFS) {
		t.Error(err)
	}
}

func TestOpenFDReadOnly(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fd := inherited(t, r)
	defer unix.Close(fd)
	var wrong *FDError
	if _, err := OpenFD(fd); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "not open for writing") {
		t.Errorf("OpenFD = %v", err)
	}
}
