package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/dbproxy"
)

// sshFiles are the files that a configuration names. None of them is secret:
// certificates and authorities are public.
type sshFiles struct {
	config, knownHosts string
	key, cert          string // of the login
	controlPath        string // "none" if there is no place for one
	dir                string // of our own, to be removed; "" if the files stay
}

// remove removes what was made for this run only.
func (f *sshFiles) remove() {
	if f.dir != "" {
		os.RemoveAll(f.dir)
	}
}

// pipedIdentityError says that an identity file cannot be read again.
type pipedIdentityError struct {
	path string
}

func (e *pipedIdentityError) Error() string {
	return e.path + " is no file, and OpenSSH would have to read it again"
}

// Hint says what to do.
func (*pipedIdentityError) Hint() string { return "save it to a file that only you can read" }

// write writes the files. They stay in the cache, where the next run finds
// them: nothing has to be cleaned up, so OpenSSH can take our place, and a
// connection in the background still has them. The configuration is named by
// its content, so that no run changes another's.
func (c *sshConfig) write(env *Env) (f *sshFiles, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	known, clusters, err := c.knownHosts()
	if err != nil {
		return nil, err
	}
	f = &sshFiles{}
	dir := env.cacheFile("ssh")
	// Jumps get the name of the configuration by way of a shell, without quotes.
	if dir == "" || dbproxy.Quote([]string{dir}) != dir || !onlyOurs(dir) || os.MkdirAll(dir, 0o700) != nil || c.fill(env, f, dir, known, clusters) != nil {
		if dir, err = privateDir(env, "ssh"); err != nil {
			return nil, err
		}
		*f = sshFiles{dir: dir}
		if err := c.fill(env, f, dir, known, clusters); err != nil {
			f.remove()
			return nil, fmt.Errorf("configuration for OpenSSH: %w", err)
		}
	}
	if f.dir == "" {
		dropUnused(dir, time.Now())
	}
	return f, nil
}

// How long files stay that no run has used, and after what time a use is noted.
const (
	sshFilesStay = 30 * 24 * time.Hour
	sshFilesUsed = 24 * time.Hour
)

// dropUnused removes what runs have left that were long ago: every other place of a
// login, or of tshx itself, has files of its own.
func dropUnused(dir string, now time.Time) {
	entries, _ := os.ReadDir(dir)                // what cannot be listed stays
	for _, e := range slices.Backward(entries) { // longer names first
		path := filepath.Join(dir, e.Name())
		if e.Type() == fs.ModeSymlink { // of an identity file, by its tag
			if _, err := os.Lstat(path + ".known_hosts"); len(e.Name()) == sshTag && errors.Is(err, fs.ErrNotExist) {
				os.Remove(path)
			}
			continue
		}
		info, err := e.Info()
		ours := strings.HasPrefix(e.Name(), sshTemp) || slices.Contains([]string{".conf", ".known_hosts", ".pub"}, filepath.Ext(e.Name()))
		if err == nil && info.Mode().IsRegular() && ours && now.Sub(info.ModTime()) > sshFilesStay {
			os.Remove(path)
		}
	}
}

// sshTemp begins the names of files that are being written, and sshTag is the
// length of a login's part in the names of its files.
const (
	sshTemp = ".tmp-"
	sshTag  = 16
)

// fill writes the files into a directory.
func (c *sshConfig) fill(env *Env, f *sshFiles, dir, known string, clusters []string) error {
	tag := c.tag()
	f.knownHosts = filepath.Join(dir, tag+".known_hosts")
	if err := keep(f.knownHosts, known); err != nil {
		return err
	}
	f.key, f.cert, _ = c.SSHFiles()
	if f.key = absolute(f.key); f.cert != "" {
		f.cert = absolute(f.cert)
	}
	if c.IdentityFile != "" && c.cert != nil {
		if err := c.takeApart(f, filepath.Join(dir, tag)); err != nil {
			return err
		}
	}
	f.controlPath = controlPath(env, dir, tag)
	text := c.text(f, clusters)
	f.config = filepath.Join(dir, digest(text)[:sshTag]+".conf")
	return keep(f.config, text)
}

// takeApart gives OpenSSH an identity file: it finds the key in there, but not
// the certificate, and the public key, by which it knows that the two belong
// together, only beside a key of this name. The key itself stays where it is.
func (c *sshConfig) takeApart(f *sshFiles, name string) error {
	f.cert = name + "-cert.pub"
	if err := keep(f.cert, string(ssh.MarshalAuthorizedKey(c.cert))); err != nil {
		return err
	}
	if err := keep(name+".pub", string(ssh.MarshalAuthorizedKey(c.cert.Key))); err != nil {
		return err
	}
	if to, err := os.Readlink(name); err != nil || to != f.key {
		os.Remove(name)
		if err := os.Symlink(f.key, name); err != nil && !errors.Is(err, fs.ErrExist) { // another run was first
			return nil // not everybody may on Windows; keys of OpenSSH's own kind work without
		}
	}
	f.key = name
	return nil
}

// keep makes sure that a file has this content. A reader sees either the old or
// the new one.
func keep(path, content string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == content {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > sshFilesUsed {
			os.Chtimes(path, time.Time{}, time.Now()) // dropUnused looks at it
		}
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(path), sshTemp+"*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.WriteString(content)
	if cerr := temp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}

// controlPathRoom is for what OpenSSH puts in the place of %C and behind the
// name while it makes the socket, and maxSocket the shortest limit there is for
// the name of a socket (macOS). A longer one would end every connection.
const (
	controlPathRoom = 40 - len("%C") + 17
	maxSocket       = 103
)

// controlPath is where OpenSSH puts sockets of shared connections, or "none".
func controlPath(env *Env, dir, tag string) string {
	places := []string{env.Getenv("XDG_RUNTIME_DIR")}
	if home := env.home(); home != "" {
		places = append(places, filepath.Join(home, ".ssh"))
	}
	for _, place := range append(places, dir) {
		path := filepath.Join(place, "tshx-"+tag[:8]+"-%C")
		if strings.ContainsAny(place, "%\"$~\\ \t\r\n") || !filepath.IsAbs(place) || len(path)+controlPathRoom > maxSocket {
			continue
		}
		if info, err := os.Stat(place); err == nil && info.IsDir() {
			return path
		}
	}
	return "none"
}

// digest is a name for what the parts say.
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}
