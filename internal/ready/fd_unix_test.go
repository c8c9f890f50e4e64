//go:build unix

package ready

import (
	"errors"
	"io"
	"os"
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
