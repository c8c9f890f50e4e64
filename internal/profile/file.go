package profile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// maxFile bounds what is read of one file; the largest real ones hold the
	// authorities of some hundred clusters.
	maxFile = 16 << 20
	// rereads and rereadPause bound how long a reader waits for a login in
	// progress to finish writing.
	rereads     = 2
	rereadPause = 40 * time.Millisecond
	// freshness is how old a file can be for its trouble to be that of a
	// login in progress.
	freshness = 5 * time.Second
)

// file is a file as it was read.
type file struct {
	path string
	data []byte
	mod  time.Time
	info fs.FileInfo // from before the reading; nil for pipes
}

// fresh reports whether one of files was written a moment ago. It asks the
// system's clock, since that is what set the times of the files.
func fresh(files ...file) bool {
	for _, f := range files {
		if !f.mod.IsZero() && time.Since(f.mod).Abs() < freshness {
			return true
		}
	}
	return false
}

// readFile reads a regular file. The path in the result is set in any case.
// It does not open pipes and devices, on which reading may never end.
func readFile(path string) (file, error) {
	f := file{path: path}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return f, err
	case info.IsDir():
		return f, &fs.PathError{Op: "read", Path: path, Err: errors.New("is a directory")}
	case !info.Mode().IsRegular():
		return f, &fs.PathError{Op: "read", Path: path, Err: errors.New("is not a regular file")}
	case info.Size() > maxFile:
		return f, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is larger than %d MiB", maxFile>>20)}
	}
	f.mod, f.info = info.ModTime(), info
	f.data, err = os.ReadFile(path)
	return f, err
}

// readPipe reads the rest of what may be a pipe, such as the /dev/fd/63 of a
// shell's process substitution.
func readPipe(path string) (file, error) {
	r, err := os.Open(path)
	if err != nil {
		return file{path: path}, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxFile))
	return file{path: path, data: data}, err
}

// retry calls f again, after a pause, while it fails on files that were
// written a moment ago: tsh replaces key and certificate one after the other.
func retry[T any](p *Profile, f func() (T, error)) (T, error) {
	for try := 0; ; try++ {
		result, err := f()
		var ce *CertError
		if err == nil || try == rereads || !errors.As(err, &ce) || !ce.fresh {
			return result, err
		}
		if p.pause != nil { // tests
			p.pause()
		} else {
			time.Sleep(rereadPause)
		}
	}
}
