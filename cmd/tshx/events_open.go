package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"tshx/internal/program"
	"tshx/internal/ready"
)

// openEvents opens a file to append to, or a descriptor.
func openEvents(ctx context.Context, env *Env, name string) (io.WriteCloser, error) {
	number, isFD := strings.CutPrefix(name, "fd:")
	if !isFD {
		f, err := openAppend(ctx, env, name)
		if err != nil {
			return nil, fmt.Errorf("--events %s: %w", name, bare(err))
		}
		return f, nil
	}
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, program.Usagef("--events %s: %q is not the number of a descriptor", name, number)
	}
	f, err := ready.OpenFD(n)
	if err != nil {
		return nil, program.Usagef("--events: %v", err)
	}
	return f, nil
}

// openAppend opens a file to append to. A named pipe opens when somebody reads
// from it (fifo(7)), which is waited for, and said.
func openAppend(ctx context.Context, env *Env, name string) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE
	if info, err := os.Stat(name); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return os.OpenFile(name, flags, 0o600)
	}
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened, 1)
	go func() { // what ctx leaves waiting here ends with the process
		f, err := os.OpenFile(name, flags, 0o600)
		done <- opened{f, err}
	}()
	soon := time.NewTimer(readerSoon)
	defer soon.Stop()
	for {
		select {
		case o := <-done:
			return o.file, o.err
		case <-soon.C:
			say(env, fmt.Sprintf("waiting for a reader of the pipe --events %s", name))
		case <-ctx.Done():
			return nil, childExit(program.ExitInterrupted) // whoever interrupts knows why
		}
	}
}

// readerSoon is how long a pipe may have no reader before that is said.
const readerSoon = 500 * time.Millisecond

// bare drops the path of an error where the flag before it says it, and the
// operation, by which a reader of ours that has left would be taken for one of
// standard output.
func bare(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
