//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// User ids of processes: root, one that no system has a name for, and one that
// every system calls nobody.
const (
	uidRoot     = 0
	uidStranger = 64001
	uidNobody   = 65534
)

// needRoot skips the test, or fails it on CI, where processes cannot be run as
// other users.
func needRoot(t testing.TB) {
	t.Helper()
	need(t, "setpriv")
	if os.Geteuid() == uidRoot {
		return
	}
	lacking(t, "only root can run programs as other users")
}

// lacking skips the test, or fails it on CI, for what the machine does not have.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// as is the beginning of a command line that runs the rest as a user.
func as(uid int) []string {
	if uid == os.Geteuid() {
		return nil
	}
	id := strconv.Itoa(uid)
	return []string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--pdeathsig", "KILL", "--"}
}

// forEverybody makes the program under test one that all users can run.
var forEverybody = share(func() (string, error) {
	dir, err := tempDir("bin")
	if err != nil {
		return "", err
	}
	program, err := os.ReadFile(tshxPath)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "tshx")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		return "", err
	}
	return path, os.Chmod(dir, 0o755)
})

// loginOf is a login on the modern cluster whose files belong to a user.
func loginOf(t testing.TB, uid int) *transport {
	t.Helper()
	return modern.get(t).loginOf(t, uid)
}

// loginOf is a login at the proxy itself whose files belong to a user.
func (c *cluster) loginOf(t testing.TB, uid int) *transport {
	t.Helper()
	tr, err := c.login(at("localhost", c.direct), lab.HomeOptions{})
	check(t, err)
	ca, err := os.ReadFile(tr.caFile)
	check(t, err)
	tr.caFile = filepath.Join(tr.home, "web.pem")
	check(t, os.WriteFile(tr.caFile, ca, 0o600))
	check(t, filepath.WalkDir(tr.home, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, uid)
	}))
	return tr
}

// startAs runs tshx as a user.
func startAs(t testing.TB, uid int, tr *transport, args ...string) *program {
	t.Helper()
	path := forEverybody.get(t)
	return launch(t, tr.options(), append(append(as(uid), path), args...)...)
}

// The test program is the client of another user as well: TestOtherUser does
// what this variable holds.
const otherUserVariable = "TSHX_TEST_OTHER_USER"

// otherUser is what a client of another user is to do, and what came of it.
type otherUser struct {
	Network, Addr string
	Listen        bool // until standard input ends, instead of connecting
	Times         int  // one connection after the other

	Answered int // connections that got an answer
	Bytes    int // of what was read on the others
	Errors   []string
}

const otherUserAsks = "is anybody there?"

func (o *otherUser) connect() {
	for range o.Times {
		c, err := net.Dial(o.Network, o.Addr)
		if err != nil {
			o.Errors = append(o.Errors, err.Error())
			continue
		}
		_, werr := io.WriteString(c, otherUserAsks)
		got := make([]byte, len(otherUserAsks))
		n, err := io.ReadFull(c, got)
		if string(got) == otherUserAsks {
			o.Answered++
		} else {
			o.Bytes += n
			o.Errors = append(o.Errors, fmt.Sprint(werr, ", ", err))
		}
		c.Close()
	}
}

// TestOtherUser is not a test but the program that otherUser.run runs.
func TestOtherUser(t *testing.T) {
	var o otherUser
	task := os.Getenv(otherUserVariable)
	if task == "" {
		return
	}
	check(t, json.Unmarshal([]byte(task), &o))
	if o.Listen {
		ln, err := net.Listen(o.Network, o.Addr)
		check(t, err)
		o.Addr = ln.Addr().String()
	} else {
		o.connect()
	}
	check(t, json.NewEncoder(os.Stdout).Encode(o))
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// start runs o in a process of the user and returns it when it has connected or
// listens. The process ends when done is called, or with the test.
func (o otherUser) start(t testing.TB, uid int) (result otherUser, pid int, done func()) {
	t.Helper()
	task, err := json.Marshal(o)
	check(t, err)
	// The file itself may be in a directory that is not open to others.
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestOtherUser$")
	cmd.Env = append(basicEnv(t), otherUserVariable+"="+string(task), "TSHX_BIN=none")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	var said output
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, peer.Spawn(cmd))
	ended := false
	done = func() {
		if !ended {
			ended = true
			in.Close()
			cmd.Wait()
		}
	}
	t.Cleanup(done)
	var text strings.Builder
	if err := json.NewDecoder(io.TeeReader(out, &text)).Decode(&result); err != nil {
		t.Fatalf("a process of user %d: %v: %s%s", uid, err, text.String(), said.String())
	}
	return result, cmd.Process.Pid, done
}

// run is start for one that only connects.
func (o otherUser) run(t testing.TB, uid int) otherUser {
	t.Helper()
	result, _, done := o.start(t, uid)
	done()
	return result
}
