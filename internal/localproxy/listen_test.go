package localproxy

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestListen(t *testing.T) {
	taken := listen(t)
	defer taken.Close()
	tests := []struct {
		name, addr string
		anywhere   bool
		check      func(error) bool
	}{
		{"loopback", "127.0.0.1:0", false, func(err error) bool { return err == nil }},
		{"loopback by name", "localhost:0", false, func(err error) bool { return err == nil }},
		{"loopback network", "127.8.8.8:0", false, func(err error) bool { return err == nil }},
		{"every address", "0.0.0.0:0", false, func(err error) bool { var e *NotLoopbackError; return errors.As(err, &e) }},
		{"empty host", ":0", false, func(err error) bool { var e *NotLoopbackError; return errors.As(err, &e) }},
		{"another host", "example.test:0", false, func(err error) bool { var e *NotLoopbackError; return errors.As(err, &e) }},
		{"every address, meant", "0.0.0.0:0", true, func(err error) bool { return err == nil }},
		{"no port", "127.0.0.1", false, func(err error) bool { return err != nil && strings.Contains(err.Error(), "HOST:PORT") }},
		{"taken", taken.Addr().String(), false, func(err error) bool {
			var e *PortTakenError
			return errors.As(err, &e) && e.Addr == taken.Addr().String()
		}},
		{"no path", "unix:", false, func(err error) bool { return err != nil && strings.Contains(err.Error(), "no path") }},
		{"long path", "unix:/" + strings.Repeat("x", maxSocketPath), false, func(err error) bool {
			var e *PathTooLongError
			return errors.As(err, &e)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ln, err := Listen(tt.addr, tt.anywhere)
			if err == nil {
				ln.Close()
			}
			if !tt.check(err) {
				t.Errorf("Listen = %v", err)
			}
		})
	}
}

// leaveStale makes a socket as a killed process leaves it.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
}

// socketDir is short: the path of a test's own directory may be too long.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tshx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestListenSocket(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	ln, err := Listen("unix:"+path, false)
	if err != nil {
		t.Fatal(err)
	}
	if ln.Addr().String() != path || ln.Addr().Network() != "unix" {
		t.Errorf("listens on %v", ln.Addr())
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); runtime.GOOS != "windows" && got != 0o600 {
		t.Errorf("mode %v, want 0600", got)
	}
	var taken *SocketTakenError
	if _, err := Listen("unix:"+path, false); !errors.As(err, &taken) {
		t.Errorf("second Listen = %v", err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first one does not listen any more: %v", err)
	}
	c.Close()
	ln.Close()
	ln.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// What a killed process leaves is taken over.
func TestListenStaleSocket(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	leaveStale(t, path)
	ln, err := Listen("unix:"+path, false)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}

// A socket that another process has put in the place of ours is not removed.
func TestSocketOfAnotherStays(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	ln, err := Listen("unix:"+path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path) // which asks for no lock
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ln.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("removed: %v", err)
	}
}

func TestListenNotSocket(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, dir} {
		if _, err := Listen("unix:"+path, false); !errors.Is(err, ErrNotSocket) {
			t.Errorf("Listen = %v, want %v", err, ErrNotSocket)
		}
		if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file is now %q, %v", b, err)
	}
}
