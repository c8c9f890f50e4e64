//go:build !unix || aix || solaris

package dbproxy

import "os"

// keepOwner has nothing to do: a file takes its rights from the directory.
func keepOwner(*os.File, string) error { return nil }

// lockDir does nothing: nobody can lock a directory here.
func lockDir(string) (unlock func()) { return func() {} }
