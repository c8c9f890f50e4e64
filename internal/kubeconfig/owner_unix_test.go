//go:build unix

package kubeconfig

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestEditOwner edits another user's file as root.
func TestEditOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const uid, gid = 12345, 12346
	path := write(t, filepath.Join(t.TempDir(), "config"), "")
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	if err := Edit(t.Context(), path, login); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); stat.Uid != uid || stat.Gid != gid {
		t.Errorf("owner is now %d:%d", stat.Uid, stat.Gid)
	}
}
