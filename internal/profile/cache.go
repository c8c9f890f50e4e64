package profile

import (
	"io/fs"
	"os"
	"sync"
	"time"
)

// settled is how old a file must be when it is read for its content to be
// remembered: changed again within the resolution of its time it would look the
// same.
const settled = 2 * time.Second

// cache remembers what the content of files was parsed to, because that takes as
// long as a whole TLS handshake and is needed for each connection. It asks the
// file system each time whether the file is still the same, so that a new login
// is seen at once. The zero value is empty and ready; nil stays empty.
type cache[T any] struct {
	mu    sync.Mutex
	items map[string]cached[T] // by path
}

type cached[T any] struct {
	info  fs.FileInfo
	value T
}

// get returns the file, without its data, and what it was parsed to.
func (c *cache[T]) get(path string) (f file, value T, ok bool) {
	if c == nil {
		return f, value, false
	}
	c.mu.Lock()
	item, ok := c.items[path]
	c.mu.Unlock()
	if !ok {
		return f, value, false
	}
	info, err := os.Stat(path)
	if err != nil || !os.SameFile(info, item.info) || !info.ModTime().Equal(item.info.ModTime()) || info.Size() != item.info.Size() {
		return f, value, false
	}
	return file{path: path, mod: info.ModTime(), info: info}, item.value, true
}

// put remembers what f, as readFile returned it, was parsed to.
func (c *cache[T]) put(f file, value T) {
	if c == nil || f.info == nil || time.Since(f.mod) < settled {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items == nil {
		c.items = map[string]cached[T]{}
	}
	c.items[f.path] = cached[T]{f.info, value}
}
