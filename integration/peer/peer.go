//go:build linux

// Package peer runs the real programs that the integration tests talk to:
// database servers, an SSH server, Kubernetes, balancers and an HTTP proxy.
//
//	pg, err := peer.StartPostgres(peer.Options{})
//	defer pg.Close()
//
// Each one runs in a directory of its own under the system's temporary
// directory, on a loopback port that was free, as the system user of its
// package where it refuses to run as root, and ends with Close or with the
// process that started it. The package knows nothing about tshx.
package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// The programs that the tests run, by the name of their Debian package.
var packages = map[string]string{
	"postgres": "postgresql", "initdb": "postgresql", "psql": "postgresql-client",
	"mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server",
	"mariadb": "mariadb-client", "mysql": "mariadb-client",
	"redis-server": "redis-server", "redis-cli": "redis-tools",
	"sshd": "openssh-server", "ssh": "openssh-client", "scp": "openssh-client",
	"sftp": "openssh-client", "ssh-keygen": "openssh-client",
	"ssh-agent": "openssh-client", "ssh-add": "openssh-client",
	"rsync": "rsync", "nginx": "nginx", "haproxy": "haproxy",
	"squid": "squid", "basic_ncsa_auth": "squid",
	"clickhouse-server": "clickhouse-server", "clickhouse-client": "clickhouse-client",
	"stunnel4": "stunnel4", "ip": "iproute2", "tc": "iproute2", "setpriv": "util-linux",
	"tsql": "freetds-bin", "curl": "curl", "aws": "awscli", "az": "azure-cli", "python3": "python3",
	"chromium-headless-shell": "chromium-headless-shell",
}

// binDirs are searched after PATH: where distributions put servers, which an
// ordinary user's PATH leaves out.
var binDirs = []string{
	"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/lib/squid", "/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
}

// MissingError says which program is not installed.
type MissingError struct {
	Program string
	// Package is the Debian package that has it, empty for what comes from
	// elsewhere and is kept in the user's cache directory.
	Package string
}

func (e *MissingError) Error() string {
	if e.Package == "" {
		return fmt.Sprintf("%s is not there (run scripts/install-test-peers.sh)", e.Program)
	}
	return fmt.Sprintf("%s is not installed (Debian package %s, or run scripts/install-test-peers.sh)", e.Program, e.Package)
}

// Find returns the path of a program, or a *MissingError.
func Find(program string) (string, error) {
	if p, err := exec.LookPath(program); err == nil {
		return p, nil
	}
	for _, d := range append(binDirs, builtDir()) {
		found, _ := filepath.Glob(filepath.Join(d, program))
		slices.Sort(found)
		for _, p := range slices.Backward(found) {
			if isExecutable(p) {
				return p, nil
			}
		}
	}
	return "", &MissingError{Program: program, Package: packages[program]}
}

// builtDir is where the scripts put what is in no package.
func builtDir() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "/nonexistent"
	}
	return filepath.Join(cache, "tshx", "peers")
}

// Path is the PATH of programs that are to find what Find does, as far as it is
// not a matter of versions.
func Path() string {
	return os.Getenv("PATH") + string(os.PathListSeparator) + builtDir()
}

// FindAll is Find for several programs; the error is about the first missing one.
func FindAll(programs ...string) error {
	for _, p := range programs {
		if _, err := Find(p); err != nil {
			return err
		}
	}
	return nil
}

func isExecutable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// tempDir makes a directory that any system user can enter, because servers
// that refuse to be root work in there. The caller removes it.
func tempDir(name string) (string, error) {
	base := os.TempDir()
	if os.Geteuid() == 0 && !open(base) {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "tshx-"+name+"-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// open reports whether every user may enter dir and all directories above it.
func open(dir string) bool {
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		st, err := os.Stat(d)
		if err != nil || st.Mode()&0o001 == 0 {
			return false
		}
		if d == filepath.Dir(d) {
			return true
		}
	}
}

// write writes a configuration file into dir and returns its path.
func write(dir, name, content string, mode os.FileMode) (string, error) {
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, []byte(content), mode); err != nil {
		return "", err
	}
	return p, os.Chmod(p, mode)
}

// tail returns the last n lines of text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
