// Command ferretdb is a server that speaks MongoDB's protocol and keeps its
// data in SQLite. It is what the integration tests talk to in place of MongoDB,
// which has no Debian package. It is a module of its own so that tshx need not
// know what it is made of.
//
//	ferretdb -listen 127.0.0.1:27017 -dir /tmp/x
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "`address` to listen on")
	dir := flag.String("dir", "", "existing `directory` of the databases")
	flag.Parse()
	if *dir == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, dir string) error {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: dir + "/"}).EscapedPath()}
	db, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: listen},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Handler:   "sqlite",
		SQLiteURL: u.String(),
	})
	if err != nil {
		return err
	}
	return db.Run(ctx)
}
