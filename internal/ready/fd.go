package ready

import "fmt"

// FDError says that a descriptor cannot be written to.
type FDError struct {
	FD     int
	Reason string
}

func (e *FDError) Error() string { return fmt.Sprintf("descriptor %d %s", e.FD, e.Reason) }
