package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tshx": main})
}

// TestScript runs the scripts in testdata/script against the real command line.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir+"/home")
			e.Setenv("XDG_CACHE_HOME", e.WorkDir+"/cache")
			e.Setenv("USER", "alice")
			e.Setenv("TSHX_PORT_RANGE", "off")      // scripts run side by side
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else each program waits for a second at its end
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exitcode":  exitCodeCmd,
			"interrupt": interruptCmd,
			"lab":       labCmd,
			"oneline":   oneLineCmd,
			"listen":    listenCmd,
		},
	})
}
