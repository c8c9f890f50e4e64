package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"tshx/internal/lab"
	"tshx/internal/profile"
)

// The first login of a certificate is up to the cluster, and OpenSSH puts it into
// a shell's command line and tshx into a configuration: one that is no name must not
// run anything here.
func TestSSHHostileLogin(t *testing.T) {
	dir := t.TempDir()
	for name, login := range map[string]string{
		"quote":      "x'$(touch " + dir + "/ran)'",
		"line break": "x\nPermitLocalCommand yes\nLocalCommand touch " + dir + "/ran\n",
		"match":      "x\"\nMatch exec \"touch " + dir + "/ran\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := sshConfig{
				Globals: &Globals{}, Profile: &profile.Profile{Name: "p", WebAddr: "p:443", Cluster: "c"}, exe: "/bin/false",
				cert: &ssh.Certificate{ValidPrincipals: []string{login, "root"}},
			}
			text := c.text(&sshFiles{key: "/dev/null", knownHosts: "/dev/null", controlPath: "none"}, []string{"c"})
			if strings.Contains(text, "touch") || !strings.Contains(text, `User "root"`) {
				t.Errorf("got\n%s", text)
			}
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if ssh, err := exec.LookPath("ssh"); err == nil {
				exec.CommandContext(t.Context(), ssh, "-F", file, "-oBatchMode=yes", "node1", "true").Run()
			}
			if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
				t.Error("it ran")
			}
		})
	}
}

// What cannot be a word of a configuration is refused, and told.
func TestSSHUnusableWords(t *testing.T) {
	a := newSSHHome(t)
	for _, tt := range []struct {
		args []string
		env  map[string]string
	}{
		{[]string{"--login", "x'; id; '", "node1"}, nil},
		{[]string{"-l", "a\nb", "node1"}, nil},
		{[]string{"-lx'y", "node1"}, nil},
		{[]string{"-oUser=x'y", "node1"}, nil},
		{[]string{"-o", "user x'y", "node1"}, nil},
		{[]string{"--option", "User=x'y", "node1"}, nil},
		{[]string{"node1"}, map[string]string{"TELEPORT_LOGIN": "x'y"}},
		{[]string{"node1"}, map[string]string{"TELEPORT_HOME": a + "/line\nbreak"}},
		{[]string{"--cluster=", "node1"}, nil},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			// -G so that a failure ends, too.
			code, _, talk := runLine(t, append([]string{"ssh", "-G"}, tt.args...)...)
			if code != exitUsage || strings.Count(strings.TrimSpace(talk), "\n") != 0 {
				t.Errorf("%d %q", code, talk)
			}
		})
	}
}

// newSSHHome makes a login the environment, and returns a directory in which
// "line\nbreak" is the same one.
func newSSHHome(t *testing.T) string {
	t.Helper()
	a := newAppsLab(t, lab.HomeOptions{})
	dir := t.TempDir()
	if err := os.Symlink(a.home, filepath.Join(dir, "line\nbreak")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Who can write into the cache can have OpenSSH run what he likes.
func TestSSHCacheOfOthers(t *testing.T) {
	dir := t.TempDir()
	sub := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cases := map[string]bool{
		sub("private", 0o700): true, filepath.Join(sub("new", 0o755), "tshx", "ssh"): true, sub("readable", 0o755): true,
		sub("group", 0o770): false, sub("all", 0o777): false, filepath.Join(sub("above", 0o777), "ssh"): false,
		filepath.Join(sub("sticky", 0o777|os.ModeSticky), "ssh"): true,
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "all"), link); err != nil {
		t.Fatal(err)
	}
	cases[link] = false
	if os.Geteuid() == 0 {
		other := sub("other", 0o700)
		if err := os.Chown(other, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		cases[other] = false
	}
	for path, want := range cases {
		if got := onlyOurs(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

// What no login uses any more goes in the end: homes of tests and of jobs come and go.
func TestSSHCacheEnds(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	file := func(name string, age time.Duration) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	const day = 24 * time.Hour
	for _, name := range []string{"0123456789abcdef.conf", "0123456789abcdef.known_hosts", "0123456789abcdef.pub", "0123456789abcdef-cert.pub", ".tmp-1"} {
		file(name, 40*day)
	}
	for name, age := range map[string]time.Duration{
		"fedcba9876543210.conf": 10 * day, "fedcba9876543210.known_hosts": 10 * day, ".tmp-2": 0,
		"mine": 40 * day, "tshx-01234567-0a": 40 * day,
	} {
		file(name, age)
	}
	for _, name := range []string{"0123456789abcdef", "fedcba9876543210"} {
		if err := os.Symlink("/identity", filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// What is used again stays.
	file("00000000000000ff.conf", 40*day)
	if err := keep(filepath.Join(dir, "00000000000000ff.conf"), "00000000000000ff.conf"); err != nil {
		t.Fatal(err)
	}
	dropUnused(dir, now)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	const want = ".tmp-2 00000000000000ff.conf fedcba9876543210 fedcba9876543210.conf fedcba9876543210.known_hosts mine tshx-01234567-0a"
	if strings.Join(got, " ") != want {
		t.Errorf("left %q", got)
	}
}
