// Command tshx connects ordinary clients to an access proxy that routes by TLS
// SNI and ALPN. See README.md.
package main

import (
	"context"
	"os"
)

func main() {
	env := systemEnv()
	ctx, stop := notifySignals(context.Background(), os.Exit)
	code := run(ctx, env, os.Args[1:])
	stop()
	os.Exit(code)
}
