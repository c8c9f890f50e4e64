//go:build linux

package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tshx/internal/lab"
)

// starts is how often TestReady starts a proxy.
const starts = 50

// shortDir is a directory for sockets, whose paths must not be long.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tshx")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// readFile returns what a file holds once it is there.
func (p *program) readFile(path string) string {
	p.t.Helper()
	var b []byte
	eventually(patience, func() bool {
		var err error
		b, err = os.ReadFile(path)
		return err == nil || p.ended()
	})
	if len(b) == 0 || b[len(b)-1] != '\n' {
		p.t.Fatalf("%s holds %q", path, b)
	}
	return strings.TrimSpace(string(b))
}

// TestReady: who connects when it is said that it is ready is never refused.
func TestReady(t *testing.T) {
	connect := func(t *testing.T, addr string) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	t.Run("port file", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		path := filepath.Join(t.TempDir(), "port")
		for range starts / 2 {
			p := launch(t, raw(t).options(), tshxPath, "proxy", "app", "echo", "--port-file", path)
			connect(t, "127.0.0.1:"+p.readFile(path))
			p.drained()
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("the port file is still there: %v", err)
			}
		}
	})
	t.Run("descriptor", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		for range starts / 2 {
			p := launch(t, raw(t).options(), "sh", "-c", "exec "+tshxPath+" proxy app echo --ready-fd 3 3>&1 >/dev/null")
			connect(t, p.lineAfter(""))
			p.drained()
		}
	})
}

// TestServiceManager: systemd hears when clients can connect, and when no more
// can.
func TestServiceManager(t *testing.T) {
	nothingLeft(t)
	for _, name := range []string{filepath.Join(shortDir(t), "notify"), "@" + filepath.Base(shortDir(t))} {
		manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		check(t, err)
		defer manager.Close()
		heard := func() string {
			manager.SetReadDeadline(time.Now().Add(patience))
			buf := make([]byte, 4096)
			n, err := manager.Read(buf)
			check(t, err)
			return string(buf[:n])
		}
		o := raw(t).options()
		o.env = append(o.env, "NOTIFY_SOCKET="+name)
		p := launch(t, o, tshxPath, "proxy", "app", "echo")
		ready, status, _ := strings.Cut(heard(), "\n")
		addr, ok := strings.CutPrefix(status, `STATUS=application "echo" on `)
		if ready != "READY=1" || !ok {
			t.Fatalf("heard %q, %q", ready, status)
		}
		c := dial(t, addr)
		answers(t, c)
		p.signal(syscall.SIGTERM)
		if got := heard(); !strings.HasPrefix(got, "STOPPING=1\n") {
			t.Errorf("heard %q", got)
		}
		c.Close()
		if code := p.wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
}

// TestListenSocket: clients use the socket, and one that a killed tshx has left
// is taken over.
func TestListenSocket(t *testing.T) {
	need(t, "redis-cli")
	redis.get(t)
	nothingLeft(t)
	path := filepath.Join(shortDir(t), "s")
	for range 2 {
		p := launch(t, raw(t).options(), tshxPath, "proxy", "db", "cache", "--tunnel", "--listen", "unix:"+path)
		if got := p.lineAfter("address: "); got != path {
			t.Errorf("address %q", got)
		}
		c := pasted(t, p.lineAfter("connect: "), "eval", "return 6*7", "0")
		if code := c.wait(); code != 0 || strings.TrimSpace(c.stdout.String()) != "42" {
			t.Errorf("exit code %d, %q %q", code, c.stdout.String(), c.stderr.String())
		}
		p.signal(syscall.SIGKILL)
		p.wait()
		if _, err := os.Lstat(path); err != nil {
			t.Fatalf("nothing is left to take over: %v", err)
		}
	}
	raw(t).start(t, "proxy", "app", "bulk", "--listen", "unix:"+path).lineAfter("address: ")
	c, err := net.Dial("unix", path)
	check(t, err)
	c.Close()
}

// TestStablePort: the same resource gets the same port again.
func TestStablePort(t *testing.T) {
	nothingLeft(t)
	o := raw(t).options()
	o.env = append(o.env, "TSHX_PORT_RANGE=20000-29999")
	ports := map[string]bool{}
	for range 5 {
		p := launch(t, o, tshxPath, "proxy", "app", "polite")
		ports[p.lineAfter("address: ")] = true
		p.drained()
	}
	if len(ports) != 1 {
		t.Errorf("addresses %v", ports)
	}
}

// TestCommand: a command owns the terminal and the signals; the proxy lives as
// long as the command does, and not longer.
func TestCommand(t *testing.T) {
	t.Run("signal", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		script := `trap "echo heard it; exit 9" INT; echo {addr}; while :; do sleep 0.05; done`
		p := launch(t, raw(t).options(), tshxPath, "proxy", "app", "echo", "--", "sh", "-c", script)
		c := dial(t, p.lineAfter(""))
		answers(t, c)
		c.Close()
		p.signal(syscall.SIGINT)
		p.lineAfter("heard ")
		if code := p.wait(); code != 9 || p.stderr.String() != "" {
			t.Errorf("exit code %d, said %q", code, p.stderr.String())
		}
	})
	t.Run("connection outlives it", func(t *testing.T) {
		t.Parallel()
		nothingLeft(t)
		r, w := pipe(t)
		o := raw(t).options()
		o.stdin = r
		p := launch(t, o, tshxPath, "proxy", "app", "echo", "--", "sh", "-c", "echo {addr}; read line; exit 3")
		c := dial(t, p.lineAfter(""))
		answers(t, c)
		fmt.Fprintln(w, "go")
		if code := p.wait(); code != 3 {
			t.Errorf("exit code %d", code)
		}
		if n, err := c.Read(make([]byte, 1)); err == nil || n > 0 {
			t.Errorf("%d bytes, %v", n, err)
		}
		oneLine(t, p.stderr.String(), `cut 1 connection`)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		need(t, "redis-cli")
		redis.get(t)
		nothingLeft(t)
		got := execute(t, raw(t).options(), tshxPath, "proxy", "db", "cache", "--tunnel", "--",
			"redis-cli", "-u", "{url}", "eval", "return 6*7", "0")
		if strings.TrimSpace(got) != "42" {
			t.Errorf("got %q", got)
		}
	})
}

// eventLine is what the tests look at in a line of --events.
type eventLine struct {
	V        int
	Time     time.Time
	Event    string
	ID       int64
	Client   string
	Sent     int64
	Received int64
	Reason   string
	Error    *string
	Upgrade  bool
	Method   string
	Open     int
	Left     int64 `json:"seconds_left"`
}

func readEvents(t testing.TB, path string) []eventLine {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	var all []eventLine
	for line := range bytes.Lines(b) {
		var e eventLine
		if err := json.Unmarshal(line, &e); err != nil || e.V != 1 || e.Time.IsZero() {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// TestEvents: each connection is there twice, with its bytes and its reason.
func TestEvents(t *testing.T) {
	nothingLeft(t)
	const conns, size = 200, 1000
	path := filepath.Join(t.TempDir(), "events")
	p := launch(t, transports[1].get(t).options(), tshxPath, "proxy", "app", "echo", "--events", path)
	addr := p.lineAfter("address: ")
	clients := map[string]bool{}
	for n := range conns {
		c := dial(t, addr)
		clients[c.LocalAddr().String()] = true
		data := bytes.Repeat([]byte{byte(n)}, size)
		c.Write(data)
		c.CloseWrite()
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		c.Close()
	}
	rude := dial(t, addr)
	answers(t, rude)
	reset(rude)
	held := dial(t, addr)
	answers(t, held)
	p.signal(syscall.SIGTERM)
	p.await("draining ")
	held.Close()
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}

	events := readEvents(t, path)
	if events[0].Event != "listening" {
		t.Errorf("first: %+v", events[0])
	}
	var verdict eventLine
	open, reasons, count := map[int64]bool{}, map[string]int{}, map[string]int{}
	for i, e := range events {
		count[e.Event]++
		if i > 0 && e.Time.Before(events[i-1].Time) {
			t.Errorf("%v comes after %v", e.Time, events[i-1].Time)
		}
		switch e.Event {
		case "verdict":
			verdict = e // the first may come before a method is known
		case "conn_open":
			open[e.ID] = true
			delete(clients, e.Client)
		case "conn_close":
			if !open[e.ID] {
				t.Errorf("%d has ended and was not open", e.ID)
			}
			delete(open, e.ID)
			reasons[e.Reason]++
			if e.Reason == "eof" && e.ID <= conns && (e.Sent != size || e.Received != size || e.Error != nil) {
				t.Errorf("%+v", e)
			}
		}
	}
	if len(open) > 0 || len(clients) > 0 {
		t.Errorf("never closed: %v, never seen: %v", open, clients)
	}
	if reasons["eof"] != conns+1 || reasons["client_gone"] != 1 || count["draining"] != 1 || !verdict.Upgrade || verdict.Method != "websocket" {
		t.Errorf("reasons %v, events %v, verdict %+v", reasons, count, verdict)
	}
}

// TestEventsRefused: a proxy that cannot be reached is the reason.
func TestEventsRefused(t *testing.T) {
	nothingLeft(t)
	path := filepath.Join(t.TempDir(), "events")
	p := launch(t, privateLogin(t, closedPort(t)).options(), tshxPath, "proxy", "app", "echo", "--events", path)
	c := dial(t, p.lineAfter("address: "))
	io.Copy(io.Discard, c)
	p.signal(syscall.SIGTERM)
	p.wait()
	for _, e := range readEvents(t, path) {
		if e.Event == "conn_close" {
			if e.Reason != "refused" || e.Error == nil || !strings.Contains(*e.Error, "refused") {
				t.Errorf("%+v", e)
			}
			return
		}
	}
	t.Error("no end of the connection")
}

// TestCertificateEvents: a certificate that is about to end is told once to
// people and programs, and the next one is taken without a restart.
func TestCertificateEvents(t *testing.T) {
	for _, args := range []string{"proxy app echo", "proxy db cache"} { // the second one shows no certificate
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			nothingLeft(t)
			cl := modern.get(t)
			tr := loginAt(t, at("localhost", cl.direct), lab.HomeOptions{TTL: 10 * time.Minute})
			path := filepath.Join(t.TempDir(), "events")
			p := launch(t, tr.options(), append([]string{tshxPath}, strings.Fields(args+" --events "+path)...)...)
			addr := p.lineAfter("address: ")
			p.await("certificate expires in 10 minutes")
			check(t, cl.lab.WriteHome(tr.home, tr.addr, lab.HomeOptions{}))
			told := func(name string) (n int) {
				for _, e := range readEvents(t, path) {
					if e.Event == name {
						n++
					}
				}
				return n
			}
			connected := func() bool {
				dial(t, addr).Close() // is when it looks
				return told("cert_renewed") > 0 || p.ended()
			}
			if !eventually(patience, connected) || p.ended() {
				t.Error("not renewed")
			}
			p.signal(syscall.SIGTERM)
			if code := p.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if told("cert_expiring") != 1 || told("cert_renewed") != 1 {
				t.Errorf("%+v", readEvents(t, path))
			}
			said := strings.Split(p.stderr.String(), "\n")[0]
			oneLine(t, said, `certificate expires in 10 minutes; renew it, tshx need not be restarted: tsh`)
		})
	}
}
