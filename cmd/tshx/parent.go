package main

import "errors"

// errParentGone is the cause of the end under --exit-with-parent.
var errParentGone = errors.New("the parent process has ended")
