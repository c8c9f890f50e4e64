//go:build linux

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tshx/internal/lab"
)

// sshRaw is a user at the proxy itself.
func sshRaw(t testing.TB) *sshSide { return newSSHSide(t, sshWays[0]) }

// TestSSHCommandMistakes: what cannot work ends before OpenSSH starts, with one
// line, or with OpenSSH's exit code and a line of ours before its own.
func TestSSHCommandMistakes(t *testing.T) {
	const openSSH = 255
	for _, tt := range []struct {
		name  string
		args  []string
		spoil func(t *testing.T, s *sshSide)
		code  int
		says  string
	}{
		{"not logged in", []string{"node1"}, func(t *testing.T, s *sshSide) { s.home = t.TempDir() }, codeLogin, `not logged in.*tsh login`},
		{"login expired", []string{"node1"}, func(t *testing.T, s *sshSide) {
			tr, err := sshModern.get(t).login(s.addr, lab.HomeOptions{TTL: -time.Hour})
			check(t, err)
			s.home = tr.home
		}, codeLogin, `certificate expired .* ago.*tsh login`},
		{"unknown cluster", []string{"--cluster=other.tshx.test", "node1"}, nil, codeLogin, `no SSH host authority of cluster "other.tshx.test".*tsh login other.tshx.test`},
		{"unknown proxy", []string{"--proxy", "other.example.com", "node1"}, nil, codeLogin, `other\.example\.com.*tsh login`},
		{"flag of nobody", []string{"--frobnicate", "node1"}, nil, codeUsage, `--frobnicate.*tshx ssh --help`},
		{"name that is none", []string{"a'b"}, nil, codeUsage, `a'b`},
		{"no configuration", []string{"-F", "/nonexistent", "node1"}, nil, codeUsage, `-F.*/nonexistent`},

		{"unknown node", []string{"nosuch"}, nil, openSSH, `the proxy refused nosuch.*no such node`},
		{"login not allowed", []string{"mallory@node1"}, nil, openSSH, `does not allow login "mallory"; it allows`},
		{"proxy down", []string{"node1"}, func(t *testing.T, s *sshSide) {
			tr, err := sshModern.get(t).login(closedPort(t), lab.HomeOptions{})
			check(t, err)
			s.home = tr.home
		}, openSSH, `refused`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			s := sshRaw(t)
			if tt.spoil != nil {
				tt.spoil(t, s)
			}
			o := s.o
			o.env = append(slices.Clone(o.env), "TELEPORT_HOME="+s.home)
			p := launch(t, o, s.argv("ssh", append(tt.args, "true")...)...)
			if code := p.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			said := p.stderr.String()
			if tt.code == openSSH {
				said, _, _ = strings.Cut(said, "\n")
			}
			oneLine(t, said, tt.says)
			if p.stdout.String() != "" {
				t.Errorf("standard output: %q", p.stdout.String())
			}
		})
	}
}

// TestSSHCommandImpostor: a node that no authority vouches for is not talked to,
// whatever the user has OpenSSH do with strangers, and nothing learns its key.
func TestSSHCommandImpostor(t *testing.T) {
	nothingLeft(t)
	s := sshRaw(t)
	learned := filepath.Join(t.TempDir(), "known_hosts")
	s.write(t, "Host *\n    StrictHostKeyChecking no\n    UserKnownHostsFile "+learned+"\n")
	p := launch(t, s.o, s.argv("ssh", "impostor", "true")...)
	if code := p.wait(); code != 255 || !strings.Contains(p.stderr.String(), "Host key verification failed") {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
	if text, err := os.ReadFile(learned); err == nil {
		t.Errorf("learned %q", text)
	}
}

// TestSSHCommandEndings: however it ends, no process stays.
func TestSSHCommandEndings(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			s := sshRaw(t)
			o := s.o
			o.stdin, _ = pipe(t)
			p := launch(t, o, s.argv("ssh", "node1", "echo is up; cat")...)
			p.lineAfter("is ")
			p.signal(sig)
			p.wait()
			noneLeft(t)
		})
	}
}

// TestSSHCommandWithoutCache: where the files have no place to stay, or one that
// a shell would not understand, they go at the end, and all works as ever.
func TestSSHCommandWithoutCache(t *testing.T) {
	for name, cache := range map[string]func(dir string) string{
		"not writable": func(string) string { return "/proc/nonexistent" },
		"with a space": func(dir string) string { return filepath.Join(dir, "a cache") },
	} {
		start := func(t *testing.T, args ...string) (*program, func()) {
			s := sshRaw(t)
			temp, err := os.MkdirTemp("", "t") // in a path that needs no quotes
			check(t, err)
			t.Cleanup(func() { os.RemoveAll(temp) })
			o := s.o
			o.stdin, _ = pipe(t)
			o.env = append(slices.Clone(o.env), "XDG_CACHE_HOME="+cache(t.TempDir()), "TMPDIR="+temp)
			p := launch(t, o, s.argv("ssh", args...)...)
			return p, func() {
				if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			}
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			p, clean := start(t, "-J", "node1", "inner", "exit 7")
			if code := p.wait(); code != 7 || p.stderr.String() != "" {
				t.Errorf("exit code %d: %s", code, p.stderr.String())
			}
			clean()
		})
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			t.Run(fmt.Sprint(name, ", ", sig), func(t *testing.T) {
				t.Parallel()
				nothingLeft(t)
				p, clean := start(t, "node1", "echo is up; cat")
				p.lineAfter("is ")
				p.signal(sig)
				p.wait()
				clean()
			})
		}
	}
}

// TestSSHCommandIdentityFile needs nothing but an identity file, and leaves no
// secret anywhere.
func TestSSHCommandIdentityFile(t *testing.T) {
	nothingLeft(t)
	s := sshRaw(t)
	path := filepath.Join(t.TempDir(), "an identity 100%")
	check(t, sshModern.get(t).lab.WriteIdentityFile(path, lab.HomeOptions{}))
	cache := t.TempDir()
	o := s.o
	o.env = append(slices.Clone(o.env), "TELEPORT_HOME=/nonexistent", "XDG_CACHE_HOME="+cache)
	for _, args := range [][]string{{"node1"}, {"-J", "node1", "inner"}} {
		argv := append([]string{tshxPath, "-i", path, "--proxy", s.addr, "ssh", "-F", s.config}, args...)
		p := launch(t, o, append(argv, "exit 7")...)
		if code := p.wait(); code != 7 || p.stderr.String() != "" {
			t.Errorf("%q: exit code %d: %s", args, code, p.stderr.String())
		}
	}
	files, err := filepath.Glob(filepath.Join(cache, "tshx", "ssh", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files, %v", err)
	}
	for _, file := range files {
		if to, err := os.Readlink(file); err == nil && to == path {
			continue
		}
		text, err := os.ReadFile(file)
		check(t, err)
		info, err := os.Lstat(file)
		check(t, err)
		if strings.Contains(string(text), "PRIVATE") || info.Mode() != 0o600 {
			t.Errorf("%s, mode %v, holds a secret, or others can read it", file, info.Mode())
		}
	}
	o.stdin, err = os.Open(path)
	check(t, err)
	defer o.stdin.Close()
	p := launch(t, o, "sh", "-c", "cat | "+tshxPath+" -i /dev/stdin --proxy "+s.addr+" ssh node1")
	if code := p.wait(); code != codeFailure {
		t.Errorf("from a pipe: exit code %d", code)
	}
	oneLine(t, p.stderr.String(), "/dev/stdin is no file.*save it")
}

// TestSSHCommandOddPaths: what a path may hold means something to OpenSSH's
// configuration or to a shell.
func TestSSHCommandOddPaths(t *testing.T) {
	nothingLeft(t)
	s := sshRaw(t)
	odd := filepath.Join(t.TempDir(), `a "home" 100%h 'of' $(x) \ \"* #1`)
	check(t, sshModern.get(t).lab.WriteHome(odd, s.addr, lab.HomeOptions{}))
	text, err := os.ReadFile(s.config)
	check(t, err)
	s.config = filepath.Join(t.TempDir(), `[a] *config* "?" \ #1`)
	check(t, os.WriteFile(s.config, text, 0o600))
	o := s.o
	o.env = append(slices.Clone(o.env), "TELEPORT_HOME="+odd)
	p := launch(t, o, s.argv("ssh", "-J", "node1", "inner", "exit 7")...)
	if code := p.wait(); code != 7 || p.stderr.String() != "" {
		t.Errorf("exit code %d: %s", code, p.stderr.String())
	}
}
