// Package ready tells those who wait for it that a program listens: by a file
// that appears, by a line on a descriptor, and to a service manager.
//
//	f, err := ready.NewFile("/run/user/1000/orders.port") // before listening
//	err = f.Publish("20123")                              // after
//	defer f.Remove()
//
// What can be found wrong before listening is found there.
package ready

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// File is a file that holds one line and appears at once as a whole.
type File struct {
	path string

	mu   sync.Mutex
	tmp  *os.File
	info fs.FileInfo // of what was published; nil before
}

var errNotRegular = errors.New("there is something that is not a regular file")

// NewFile makes sure that path can be written, and publishes nothing yet. The
// caller ends it with Remove. What is at path must be a regular file, or nothing:
// a device, a pipe or a link would not be written to but replaced.
func NewFile(path string) (*File, error) {
	path, err := filepath.Abs(path) // where we are now counts
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "write", Path: path, Err: errNotRegular}
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return nil, err
	}
	return &File{path: path, tmp: tmp}, nil
}

// Publish makes the file appear with text as its one line, in place of what was
// there. It is called once.
func (f *File) Publish(text string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tmp == nil {
		return fmt.Errorf("publish %s: %w", f.path, os.ErrClosed)
	}
	_, err := fmt.Fprintln(f.tmp, text)
	info, serr := f.tmp.Stat()
	err = errors.Join(err, serr, f.tmp.Close())
	if err == nil {
		err = os.Rename(f.tmp.Name(), f.path)
	}
	if err != nil {
		os.Remove(f.tmp.Name())
	} else {
		f.info = info
	}
	f.tmp = nil
	return err
}

// Remove removes the file unless somebody has put another in its place. It may
// be called at any time and more than once.
func (f *File) Remove() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tmp != nil {
		f.tmp.Close()
		os.Remove(f.tmp.Name())
		f.tmp = nil
	}
	if f.info != nil {
		if now, err := os.Lstat(f.path); err == nil && os.SameFile(now, f.info) {
			os.Remove(f.path)
		}
		f.info = nil
	}
}
