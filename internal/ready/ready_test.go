package ready

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "port")
	f, err := NewFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there before it is published: %v", err)
	}
	if err := f.Publish("20123"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || string(b) != "20123\n" {
		t.Errorf("holds %q, %v", b, err)
	}
	info, err := os.Lstat(path)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	f.Remove()
	f.Remove()
	empty(t, dir)
}

// empty checks that nothing is left in dir.
func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestFileNeverPublished(t *testing.T) {
	dir := t.TempDir()
	f, err := NewFile(filepath.Join(dir, "port"))
	if err != nil {
		t.Fatal(err)
	}
	f.Remove()
	if err := f.Publish("1"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Publish = %v", err)
	}
	empty(t, dir)
}

// What another process has published meanwhile stays.
func TestFileOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "port")
	for _, text := range []string{"first", "second"} {
		f, err := NewFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Publish(text); err != nil {
			t.Fatal(err)
		}
		if text == "first" {
			defer func() {
				f.Remove()
				if b, err := os.ReadFile(path); err != nil || string(b) != "second\n" {
					t.Errorf("holds %q, %v", b, err)
				}
			}()
		}
	}
}

func TestFileMistakes(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"no directory": filepath.Join(dir, "nosuch", "port"),
		"a directory":  dir,
	} {
		t.Run(name, func(t *testing.T) {
			if f, err := NewFile(path); err == nil {
				f.Remove()
				t.Error("no error")
			}
		})
	}
	empty(t, dir)
}

func TestNotify(t *testing.T) {
	dir, err := os.MkdirTemp("", "tshx") // short, for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	names := map[string]string{"path": filepath.Join(dir, "notify")}
	if runtime.GOOS == "linux" {
		names["abstract"] = "@tshx-test-" + filepath.Base(dir)
	}
	for kind, name := range names {
		t.Run(kind, func(t *testing.T) {
			ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
			if err != nil {
				t.Skip(err) // a system without
			}
			defer ln.Close()
			const state = "READY=1\nSTATUS=here"
			if err := Notify(name, state); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			n, err := ln.Read(buf)
			if err != nil || string(buf[:n]) != state {
				t.Errorf("read %q, %v", buf[:n], err)
			}
		})
	}
	if err := Notify("", "READY=1"); err != nil {
		t.Errorf("nobody: %v", err)
	}
	for _, wrong := range []string{"vsock:2:1234", filepath.Join(dir, "nosuch")} {
		if err := Notify(wrong, "READY=1"); err == nil {
			t.Errorf("%s: no error", wrong)
		}
	}
}

func TestOpenFDMistakes(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, tt := range map[string]struct {
		fd   int
		says string
	}{
		"standard output": {1, "3 or a higher one"},
		"negative":        {-1, "3 or a higher one"},
		"not open":        {1 << 19, "is not open"},
		"one of our own":  {int(w.Fd()), "is not open"}, // os.Pipe sets close-on-exec
	} {
		t.Run(name, func(t *testing.T) {
			f, err := OpenFD(tt.fd)
			if err == nil {
				f.Close()
			}
			var wrong *FDError
			if !errors.As(err, &wrong) || wrong.FD != tt.fd {
				t.Fatalf("OpenFD = %v", err)
			}
			if runtime.GOOS != "windows" && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("says %q", err)
			}
		})
	}
}
