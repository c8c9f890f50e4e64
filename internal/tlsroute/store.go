package tlsroute

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
)

// Store remembers ways in one small file, so that a process that lives for one
// connection need not test. A nil Store remembers nothing.
type Store struct {
	Path string
}

// storeFile is the file's content. A file of another version is not read and
// is replaced.
type storeFile struct {
	Version int            `json:"version"`
	Ways    map[string]Way `json:"ways"` // by host:port
}

const storeVersion = 1

// Get returns the way kept for addr. A file that cannot be read keeps nothing.
func (s *Store) Get(addr string) (Way, bool) {
	w, ok := s.read().Ways[addr]
	return w, ok
}

// Put keeps w for addr, and drops what has become too old. Of two processes that write at once one wins, and the
// other's finding is found again.
func (s *Store) Put(addr string, w Way) error {
	if s == nil {
		return nil
	}
	f := s.read()
	f.Version = storeVersion
	if f.Ways == nil {
		f.Ways = map[string]Way{}
	}
	f.Ways[addr] = w
	maps.DeleteFunc(f.Ways, func(_ string, old Way) bool { return w.At.Sub(old.At) > WayMaxAge })
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode ways: %w", err)
	}
	return replace(s.Path, append(b, '\n'))
}

func (s *Store) read() (f storeFile) {
	if s == nil {
		return f
	}
	b, err := os.ReadFile(s.Path)
	if err != nil || json.Unmarshal(b, &f) != nil || f.Version != storeVersion {
		return storeFile{}
	}
	return f
}

// replace writes a file that readers see either old or new. os.CreateTemp makes
// it 0600.
func replace(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}
