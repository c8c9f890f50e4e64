//go:build unix

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// onlyOurs reports whether nobody but us and root can put files into a directory,
// or put another in its place. It need not exist: then that is asked of those that
// it will be in.
func onlyOurs(dir string) bool {
	shared := fs.FileMode(0o022) // by others or the group, in the directory itself
	for {
		info, err := os.Stat(dir)
		if err == nil {
			if dir, err = filepath.EvalSymlinks(dir); err != nil {
				return false
			}
			owner, ok := info.Sys().(*syscall.Stat_t)
			if !ok || int(owner.Uid) != os.Geteuid() && owner.Uid != 0 || !info.IsDir() {
				return false
			}
			if info.Mode().Perm()&shared != 0 && (shared == 0o022 || info.Mode()&fs.ModeSticky == 0) {
				return false
			}
		}
		// Homes may be the group's, which is one's own on many systems.
		shared = 0o002
		above := filepath.Dir(dir)
		if above == dir {
			return true
		}
		dir = above
	}
}
