//go:build unix && !aix && !solaris

package dbproxy

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestWriteSectionOwner: root leaves no file of root's behind in a user's home.
func TestWriteSectionOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	const user, other = 12345, 23456
	dir := t.TempDir()
	if err := os.Chown(dir, user, user); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "f")
	for _, owner := range []uint32{user, other} { // of the directory, of the file itself
		if owner == other {
			if err := os.Chown(path, other, other); err != nil {
				t.Fatal(err)
			}
		}
		if err := WriteSection(path, "s", []string{"y=" + filepath.Base(dir) + string(rune('a'+owner%2))}); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Sys().(*syscall.Stat_t); got.Uid != owner || got.Gid != owner {
			t.Errorf("owner %d, group %d, want %d", got.Uid, got.Gid, owner)
		}
	}
}
