//go:build !unix

package kubeconfig

import (
	"io/fs"
	"os"
)

// keepOwner does nothing: ownership is inherited.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
