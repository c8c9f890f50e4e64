package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"tshx/internal/profile"
	"tshx/internal/sshproxy"
)

const leafHosts = `@cert-authority proxy.example.com,root.example.com,*.root.example.com ssh-ed25519 ROOT type=host
@cert-authority proxy.example.com,root.example.com,*.root.example.com ssh-ed25519 NEXT type=host
@cert-authority proxy.example.com,leaf.root.example.com,*.leaf.root.example.com ssh-ed25519 LEAF type=host
@cert-authority other.example.com,other.example.com,*.other.example.com ssh-ed25519 OTHER type=host
node1 ssh-ed25519 PLAIN
@cert-authority proxy.example.com
`

// Plain names are those of nodes of the cluster in use, whose full names must
// match as well; nodes of other clusters keep to their authority.
func TestSSHKnownHosts(t *testing.T) {
	for cluster, want := range map[string]string{
		"root.example.com": `@cert-authority *,!*.leaf.root.example.com,![*.leaf.root.example.com]:* ssh-ed25519 ROOT
@cert-authority *,!*.leaf.root.example.com,![*.leaf.root.example.com]:* ssh-ed25519 NEXT
@cert-authority leaf.root.example.com,*.leaf.root.example.com ssh-ed25519 LEAF
`,
		"leaf.root.example.com": `@cert-authority root.example.com,*.root.example.com ssh-ed25519 ROOT
@cert-authority root.example.com,*.root.example.com ssh-ed25519 NEXT
@cert-authority * ssh-ed25519 LEAF
`,
	} {
		c := sshConfig{Profile: &profile.Profile{Name: "proxy.example.com", Cluster: cluster}, hosts: []byte(leafHosts)}
		if got, _, err := c.knownHosts(); err != nil || got != want {
			t.Errorf("%s: %v\n%s", cluster, err, got)
		}
	}
	c := sshConfig{Profile: &profile.Profile{Name: "proxy.example.com", Cluster: "other.example.com"}, hosts: []byte(leafHosts)}
	if _, _, err := c.knownHosts(); !errors.Is(err, sshproxy.ErrNoAuthority) || !strings.Contains(hint(err), "tsh login other.example.com") {
		t.Errorf("of another proxy: %v; %s", err, hint(err))
	}
	c.IdentityFile = "identity"
	if _, _, err := c.knownHosts(); err != nil {
		t.Errorf("an identity file has the lines of one proxy: %v", err)
	}
}

func TestSSHConfigText(t *testing.T) {
	c := sshConfig{
		Globals:  &Globals{Home: "/a home/100%", Insecure: true, Debug: true},
		Profile:  &profile.Profile{Name: "proxy.example.com", WebAddr: "proxy.example.com:443", Cluster: "root.example.com"},
		exe:      "/usr/bin/tshx",
		cert:     &ssh.Certificate{ValidPrincipals: []string{"-teleport-nologin", "deploy", "root"}},
		includes: []string{"~/.ssh/config", `"/etc/ssh/ssh_config"`},
		login:    "from the environment",
		osUser:   "alice",
	}
	f := sshFiles{key: `/a home/100%/k"`, cert: "/cert", knownHosts: "/cache/100%/known_hosts", controlPath: "none"}
	got := c.text(&f, []string{"root.example.com", "leaf.root.example.com"})
	want := `# Made by tshx ssh for "proxy.example.com"; it makes it again where it is needed.
Host *.leaf.root.example.com
    ProxyCommand /usr/bin/tshx '--home=/a home/100%%' --insecure proxy ssh --cluster=leaf.root.example.com --proxy=proxy.example.com:443 --debug --default-port=3022 '%r@[%h]:%p'
Host *
    ProxyCommand /usr/bin/tshx '--home=/a home/100%%' --insecure proxy ssh --cluster=root.example.com --proxy=proxy.example.com:443 --debug --default-port=3022 '%r@[%h]:%p'
    ProxyUseFdpass no
    IdentityFile "/a home/100%%/k\""
    CertificateFile "/cert"
    GlobalKnownHostsFile "/cache/100%/known_hosts" /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2
    StrictHostKeyChecking yes
    ControlPath none
    User "from the environment"
Host *
Include ~/.ssh/config
Host *
Include "/etc/ssh/ssh_config"
Host *
    Port 3022
    User "deploy"
`
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestSSHIncludes(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "etc", "ssh", "ssh_config")
	if err := os.MkdirAll(filepath.Dir(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(own))
	for _, tt := range []struct{ config, ssh, want string }{
		{"", "/usr/bin/ssh", `~/.ssh/config "/etc/ssh/ssh_config"`},
		{"", filepath.Join(dir, "bin", "ssh"), `~/.ssh/config "` + own + `"`},
		{"none", "/usr/bin/ssh", ""},
		{"ssh_config", "/usr/bin/ssh", `"` + own + `"`},
	} {
		got, err := includes(tt.config, tt.ssh)
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%q with %s: %q, %v", tt.config, tt.ssh, got, err)
		}
	}
}

// A connection that is shared belongs to one login in one cluster, and a name
// that is too long for a socket would end all connections.
func TestSSHControlPath(t *testing.T) {
	short, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	if err := os.Mkdir(filepath.Join(short, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(short, strings.Repeat("long", 20))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, runtime, home, dir, want string }{
		{"runtime", short, "/nonexistent", long, short},
		{"no such runtime", "/nonexistent", short, long, filepath.Join(short, ".ssh")},
		{"long runtime", long, short, long, filepath.Join(short, ".ssh")},
		{"cache", "", "/nonexistent", short, short},
		{"nowhere", long, "/nonexistent", long, ""},
		{"relative", ".", "/nonexistent", long, ""},
	} {
		env := &Env{Getenv: func(key string) string { return map[string]string{"XDG_RUNTIME_DIR": tt.runtime, "HOME": tt.home}[key] }}
		want := "none"
		if tt.want != "" {
			want = filepath.Join(tt.want, "tshx-01234567-%C")
		}
		if got := controlPath(env, tt.dir, "0123456789abcdef"); got != want {
			t.Errorf("%s: got %s, want %s", tt.name, got, want)
		}
	}
	tags := map[string]bool{}
	for _, p := range []profile.Profile{
		{Dir: "/h", WebAddr: "p:1", User: "u", Cluster: "c"}, {Dir: "/h", WebAddr: "p:1", User: "u", Cluster: "d"},
		{Dir: "/h", WebAddr: "q:1", User: "u", Cluster: "c"}, {Dir: "/h", WebAddr: "p:1", User: "v", Cluster: "c"},
		{Dir: "/i", WebAddr: "p:1", User: "u", Cluster: "c"},
	} {
		tags[(&sshConfig{Profile: &p}).tag()] = true
	}
	if len(tags) != 5 {
		t.Errorf("5 logins and clusters have %d tags", len(tags))
	}
}

func TestSSHKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, text := range []string{"one", "one", "another"} {
		if err := keep(path, text); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		info, serr := os.Stat(path)
		if string(got) != text || err != nil || serr != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%q, %v, %v", got, err, info.Mode())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(left) != 1 {
		t.Errorf("left %q", left)
	}
	if err := keep(filepath.Join(path, "below"), "x"); err == nil {
		t.Error("a file has no files")
	}
}
