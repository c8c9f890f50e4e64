//go:build !unix

package child

import "os"

// interrupted knows of no signals here.
func interrupted(*os.ProcessState) bool { return false }
