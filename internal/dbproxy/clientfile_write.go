package dbproxy

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// newMode is for files that did not exist before: they say where databases are
// and where keys lie.
const newMode = 0o600

// WriteSection sets a section of the client's file at path, which may be missing
// or a symlink; see SetSection. Readers see the old file or the new one, never
// a part, and of several writers each keeps what the others wrote. A file keeps
// its owner and mode; a new one gets the owner of its directory and is open to
// that owner only. It fails with ErrUnwritable for what
// the file cannot hold.
func WriteSection(path, section string, settings []string) error {
	if err := checkSection(section, settings); err != nil {
		return err
	}
	return editFile(path, func(old []byte) []byte { return SetSection(old, section, settings) })
}

// RemoveSection takes a section out of the client's file at path and reports
// whether it was there. A missing file has none.
func RemoveSection(path, section string) (removed bool, err error) {
	err = editFile(path, func(old []byte) []byte {
		var data []byte
		data, removed = DropSection(old, section)
		return data
	})
	return removed && err == nil, err
}

// editFile replaces the content of the file at path. It does nothing where edit
// changes nothing.
func editFile(path string, edit func([]byte) []byte) error {
	path, err := followLinks(path)
	if err != nil {
		return err
	}
	defer lockDir(filepath.Dir(path))()
	old, mode, err := readClientFile(path)
	if err != nil {
		return err
	}
	data := edit(old)
	if bytes.Equal(data, old) {
		return nil
	}
	return replaceFile(path, data, mode)
}

// ErrTooManyLinks says that symlinks lead in a circle.
var ErrTooManyLinks = errors.New("too many symlinks")

// followLinks returns what path leads to, which need not exist.
func followLinks(path string) (string, error) {
	const most = 40 // as Linux
	for range most {
		to, err := os.Readlink(path)
		if err != nil { // it is not a link, or not there
			return path, nil
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", fmt.Errorf("%s: %w", path, ErrTooManyLinks)
}

// readClientFile returns the content of a file and the mode for its successor.
func readClientFile(path string) ([]byte, fs.FileMode, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, newMode, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if !st.Mode().IsRegular() {
		return nil, 0, &fs.PathError{Op: "edit", Path: path, Err: errors.New("not a regular file")}
	}
	data, err := os.ReadFile(path)
	return data, st.Mode().Perm(), err
}

// replaceFile puts a new file in the place of the one at path.
func replaceFile(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = keepOwner(f, path)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
