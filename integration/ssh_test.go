//go:build linux

package integration

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// sshConfig writes what `tshx config` prints, with what makes OpenSSH
// independent of the machine, and returns the file.
func sshConfig(t testing.TB, tr *transport) string {
	t.Helper()
	text := execute(t, tr.options(), tshxPath, "config") + `
Host *
    BatchMode yes
    IdentitiesOnly yes
    GlobalKnownHostsFile /dev/null
    ConnectTimeout 30
`
	path := filepath.Join(t.TempDir(), "ssh_config")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sshTarget is the node as a user writes it.
func sshTarget(tr *transport) string { return osUser() + "@node1." + tr.cluster }

func sshSession(t *testing.T, tr *transport) {
	need(t, "ssh", "sshd")
	o := tr.options()
	o.input = "a line in\n"
	p := launch(t, o, "ssh", "-F", sshConfig(t, tr), sshTarget(tr), "cat; echo a line out; exit 7")
	if code := p.wait(); code != 7 {
		t.Errorf("exit code %d, want the command's: 7", code)
	}
	if got, want := p.stdout.String(), "a line in\na line out\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := p.stderr.String(); got != "" {
		t.Errorf("standard error: %q", got)
	}
}

func sshCopy(t *testing.T, tr *transport) {
	need(t, "scp", "sshd")
	there, back := copies(t)
	config := sshConfig(t, tr)
	execute(t, tr.options(), "scp", "-q", "-F", config, there.from, sshTarget(tr)+":"+there.to)
	execute(t, tr.options(), "scp", "-q", "-F", config, sshTarget(tr)+":"+back.from, back.to)
	there.compare(t)
	back.compare(t)
}

func sshFTP(t *testing.T, tr *transport) {
	need(t, "sftp", "sshd")
	there, back := copies(t)
	o := tr.options()
	o.input = fmt.Sprintf("put %s %s\nget %s %s\n", there.from, there.to, back.from, back.to)
	execute(t, o, "sftp", "-q", "-F", sshConfig(t, tr), "-b", "-", sshTarget(tr))
	there.compare(t)
	back.compare(t)
}

func sshRsync(t *testing.T, tr *transport) {
	need(t, "rsync", "ssh", "sshd")
	there, back := copies(t)
	shell := "ssh -F " + sshConfig(t, tr)
	execute(t, tr.options(), "rsync", "-e", shell, there.from, sshTarget(tr)+":"+there.to)
	execute(t, tr.options(), "rsync", "-e", shell, sshTarget(tr)+":"+back.from, back.to)
	there.compare(t)
	back.compare(t)
}

// sshForward sends bytes through a port that OpenSSH forwards, and ends it as
// people do.
func sshForward(t *testing.T, tr *transport) {
	need(t, "ssh", "sshd")
	// A socket in a directory of our own cannot be taken by others, as a port can.
	socket := filepath.Join(t.TempDir(), "s")
	p := launch(t, tr.options(), "ssh", "-F", sshConfig(t, tr), "-N", "-L", socket+":"+services["bulk"].get(t).addr, sshTarget(tr))
	var c net.Conn
	up := func() (ok bool) {
		var err error
		c, err = net.Dial("unix", socket)
		return err == nil || p.ended()
	}
	if !eventually(patience, up) || p.ended() {
		t.Fatalf("ssh does not forward: %s", p.stderr.String())
	}
	defer c.Close()
	if err := bulk(c, 4<<20, 4<<20); err != nil {
		t.Error(err)
	}
	p.signal(syscall.SIGINT)
	p.wait()
	noneLeft(t)
}

// copied is a file that a program copies.
type copied struct{ from, to string }

// copies makes two files and names the places to copy them to.
func copies(t testing.TB) (there, back copied) {
	t.Helper()
	dir := t.TempDir()
	make := func(name string, size int) copied {
		c := copied{from: filepath.Join(dir, name), to: filepath.Join(dir, name+".copy")}
		b := make([]byte, size)
		rand.Read(b)
		if err := os.WriteFile(c.from, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return c
	}
	return make("there", 3<<20+1), make("back", 2<<20+7)
}

func (c copied) compare(t testing.TB) {
	t.Helper()
	want, err1 := os.ReadFile(c.from)
	got, err2 := os.ReadFile(c.to)
	if err1 != nil || err2 != nil || !bytes.Equal(want, got) {
		t.Errorf("%s: the copy differs (%d bytes of %d) %v %v", filepath.Base(c.from), len(got), len(want), err1, err2)
	}
}

// TestSSHConfigText looks at what people paste into their configuration.
func TestSSHConfigText(t *testing.T) {
	tr := transports[0].get(t)
	text := execute(t, tr.options(), tshxPath, "config")
	for _, want := range []string{"Host *." + tr.cluster, "ProxyCommand " + tshxPath, "CertificateFile ", "UserKnownHostsFile "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}
