// Command aws-server is what the integration tests talk to in place of Amazon:
// S3 by the Versity Gateway, which keeps objects as files and verifies Signature
// Version 4, and an STS that is two calls. Of the keys that STS hands out S3
// knows as well, with their session token. It is a module of its own so that
// tshx need not know what it is made of.
//
//	aws-server -s3 127.0.0.1:7070 -sts 127.0.0.1:7071 -dir /tmp/x -keys /tmp/x/keys.json
//
// The file of keys is {"access_key_id": "...", "secret_access_key": "..."}: the
// one account that is there from the start, and may do everything.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// region is the only one that S3 knows, as a bucket is in one region.
const region = "us-east-1"

func main() {
	s3 := flag.String("s3", "127.0.0.1:7070", "`address` of S3")
	sts := flag.String("sts", "127.0.0.1:7071", "`address` of STS")
	dir := flag.String("dir", "", "`directory` of the objects")
	keys := flag.String("keys", "", "`file` with the keys of the account")
	flag.Parse()
	if *dir == "" || *keys == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *s3, *sts, *dir, *keys); err != nil {
		fmt.Fprintln(os.Stderr, "aws-server:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s3, sts, dir, keys string) error {
	text, err := os.ReadFile(keys)
	if err != nil {
		return err
	}
	var root credentials
	if err := json.Unmarshal(text, &root); err != nil {
		return fmt.Errorf("%s: %w", keys, err)
	}
	root.ARN = "arn:aws:iam::" + account + ":user/agent"
	known := newStore(root)
	ln, err := net.Listen("tcp", sts)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: &stsServer{store: known}}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() { cancel(srv.Serve(ln)) }()
	err = serveS3(ctx, s3, dir, root, known)
	cause := context.Cause(ctx)
	srv.Close()
	if err == nil && !errors.Is(cause, context.Canceled) {
		err = cause // STS has ended, not we
	}
	return err
}

// serveS3 serves buckets until ctx ends.
func serveS3(ctx context.Context, addr, dir string, root credentials, known *store) error {
	dir, err := filepath.Abs(dir) // posix changes the working directory
	if err != nil {
		return err
	}
	data, side := filepath.Join(dir, "data"), filepath.Join(dir, "meta")
	for _, d := range []string{data, side} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	// Not every file system has extended attributes.
	attributes, err := meta.NewSideCar(side)
	if err != nil {
		return err
	}
	files, err := posix.New(data, attributes, posix.PosixOpts{SideCarDir: side, Concurrency: 1000})
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, files, &embedgw.Config{
		RootUserAccess: root.AccessKeyID, RootUserSecret: root.SecretAccessKey, Region: region,
		Ports: []string{addr}, MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10000,
		IAMService: known, HealthPath: "/healthz", KeepAlive: true, DisableACLs: true,
		// BUCKET.s3.REGION.amazonaws.com and BUCKET.s3.amazonaws.com: it looks for the
		// name between two dots.
		VirtualDomain: "s3.",
	})
}
