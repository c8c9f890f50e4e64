package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker (see Makefile).
var version string

type versionCmd struct{}

// Run prints one line: name, version, Go version and platform.
func (versionCmd) Run(env *Env) error {
	v := version
	if v == "" {
		v = "devel"
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
			v = info.Main.Version
		}
	}
	_, err := fmt.Fprintf(env.Stdout, "tshx %s %s %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
