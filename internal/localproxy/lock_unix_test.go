//go:build unix && !aix && !solaris

package localproxy

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// However many find the same stale socket, one of them gets its place, and keeps
// it.
func TestTakeoverIsOfOne(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "s")
	for range 200 {
		leaveStale(t, path)
		const many = 8
		var wg sync.WaitGroup
		start, got := make(chan struct{}), make(chan net.Listener, many)
		for range many {
			wg.Go(func() {
				<-start
				ln, err := Listen("unix:"+path, false)
				var taken *SocketTakenError
				if err == nil {
					got <- ln
				} else if !errors.As(err, &taken) {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		close(got)
		if len(got) != 1 {
			t.Errorf("%d listen, want 1", len(got))
		}
		if c, err := net.Dial("unix", path); err != nil {
			t.Errorf("the one that listens cannot be reached: %v", err)
		} else {
			c.Close()
		}
		for ln := range got {
			ln.Close()
		}
		if t.Failed() {
			return
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Fatalf("left: %v, %v", left, err)
		}
	}
}

// While somebody is about to take a stale socket over, nobody else touches it.
func TestStaleSocketOfALockedPath(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	leaveStale(t, path)
	lock, err := lockPath(path + lockSuffix)
	if err != nil {
		t.Fatal(err)
	}
	var taken *SocketTakenError
	if _, err := Listen("unix:"+path, false); !errors.As(err, &taken) {
		t.Errorf("Listen = %v", err)
	}
	if !isSocket(path) {
		t.Error("the socket was removed")
	}
	lock.release()
	ln, err := Listen("unix:"+path, false)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}

// The file that a killed process leaves locks nobody out.
func TestLockFileLeftOver(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	if err := os.WriteFile(path+lockSuffix, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := Listen("unix:"+path, false)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
}

// A lock on a file that is no longer at its path is worth nothing.
func TestLockOfARemovedFile(t *testing.T) {
	path := filepath.Join(socketDir(t), "lock")
	for name, spoil := range map[string]func() error{
		"removed": func() error { return os.Remove(path) },
		"another": func() error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		file, err := os.Create(path)
		if err == nil {
			err = spoil()
		}
		if err != nil {
			t.Fatal(err)
		}
		if same, err := lockFile(file); same || err != nil {
			t.Errorf("%s: %v, %v", name, same, err)
		}
		file.Close()
	}
}
