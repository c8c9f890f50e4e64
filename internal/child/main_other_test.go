//go:build !unix

package child

import "os"

// told are the signals that there are.
var told = []os.Signal{os.Interrupt}

func die([]string) int { return 1 }
