package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// lockWait bounds the wait for another program's edit.
	lockWait = 5 * time.Second
	lockPoll = 50 * time.Millisecond
)

// LockedError says that another program is editing the file, or was ended while
// it did.
type LockedError struct {
	Path string        // of the lock file
	Age  time.Duration // how old it is
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s exists, made %v ago by a program that edits the kubeconfig; remove it if none is running",
		e.Path, e.Age.Round(time.Second))
}

// lock takes the lock that kubectl and helm take for an edit of the file at
// path: a file beside it that must not exist. unlock removes it.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	name := path + ".lock"
	end := time.Now().Add(lockWait)
	for {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			f.Close()
			return func() { os.Remove(name) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if !time.Now().Before(end) {
			e := &LockedError{Path: name}
			if info, err := os.Lstat(name); err == nil {
				e.Age = time.Since(info.ModTime())
			}
			return nil, e
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s: %w", name, context.Cause(ctx))
		}
	}
}

// file is a file that is to be replaced.
type file struct {
	path string      // behind symbolic links
	info fs.FileInfo // nil if it does not exist
	data []byte
}

// open reads the file at path. One that does not exist is empty, and one that
// must not be written is an error.
func open(path string) (file, error) {
	real, err := follow(path)
	if err != nil {
		return file{}, err
	}
	f := file{path: real}
	f.info, err = os.Stat(real)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return file{}, err
	}
	fail := func(why error) (file, error) {
		return file{}, &fs.PathError{Op: "edit", Path: path, Err: why}
	}
	switch {
	case f.info.IsDir():
		return fail(errors.New("is a directory"))
	case !f.info.Mode().IsRegular():
		return fail(errors.New("is not a regular file"))
	case f.info.Mode().Perm()&0o200 == 0: // holds root too, whom the system does not stop
		return fail(fs.ErrPermission)
	}
	w, err := os.OpenFile(real, os.O_WRONLY, 0)
	if err != nil {
		return file{}, err
	}
	w.Close()
	f.data, err = read(real)
	return f, err
}

// follow returns the file that path leads to, which need not exist.
func follow(path string) (string, error) {
	for range 40 {
		real, err := filepath.EvalSymlinks(path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return real, err
		}
		link, err := os.Readlink(path)
		if err != nil {
			return path, nil // nothing there
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(path), link)
		}
		path = link
	}
	return "", &fs.PathError{Op: "open", Path: path, Err: errors.New("too many symbolic links")}
}

// replace writes data to f, whole or not at all. Mode and, for root, owner stay;
// a new file has mode 0600, and new directories 0700.
func (f file) replace(data []byte) (err error) {
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, "."+filepath.Base(f.path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			temp.Close()
			os.Remove(temp.Name())
		}
	}()
	if f.info != nil {
		if err := keepOwner(temp, f.info); err != nil {
			return err
		}
		if err := temp.Chmod(f.info.Mode().Perm()); err != nil {
			return err
		}
	}
	if _, err := temp.Write(data); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), f.path)
}
