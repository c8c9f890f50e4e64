// Command tshx connects ordinary clients to an access proxy that routes by TLS
// SNI and ALPN. See README.md.
package main

import (
	"context"
	"io"
	"log"
	"os"

	"tshx/internal/program"
)

func main() {
	log.SetOutput(io.Discard) // libraries print there what we report ourselves
	env := systemEnv()
	ctx, stop := program.Signals(context.Background())
	code := run(ctx, env, os.Args[1:])
	stop()
	if env.EndBySIGINT {
		endBySIGINT()
	}
	os.Exit(code)
}
