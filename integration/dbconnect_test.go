//go:build linux

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/jackc/pgx/v5"

	"tshx/integration/peer"
)

// connectTo runs `tshx db connect` to its end.
func connectTo(t *testing.T, tr *transport, o options, args ...string) *program {
	t.Helper()
	own := tr.options()
	own.env, own.input = append(own.env, o.env...), o.input
	p := launch(t, own, append([]string{tshxPath, "db", "connect"}, args...)...)
	p.wait()
	return p
}

// TestDBConnect runs the clients that people use, with their exit codes.
func TestDBConnect(t *testing.T) {
	tests := []struct {
		name   string
		server *shared[*peer.Server]
		client []string
		args   []string
		input  string
		code   int
		says   string // on standard output or standard error
	}{
		{"psql", postgres, []string{"psql"}, []string{"pg", "--", "-XAt", "-c", "select current_user, 6*7"}, "", 0, "alice|42\n"},
		{"psql flags", postgres, []string{"psql"}, []string{"pg", "--db-name", "postgres", "--", "-XAt", "-c", "select current_database()"}, "", 0, "postgres\n"},
		{"psql failure", postgres, []string{"psql"}, []string{"pg", "--", "-X", "-c", "select 1/0"}, "", 1, "division by zero"},
		{"psql script", postgres, []string{"psql"}, []string{"pg", "--", "-X", "-v", "ON_ERROR_STOP=1"}, "select 1/0;\n", 3, "division by zero"},
		{"mariadb", mariadb, []string{"mariadb"}, []string{"my", "--", "-N", "-e", "select database(), 6*7"}, "", 0, "orders\t42\n"},
		{"mariadb failure", mariadb, []string{"mariadb"}, []string{"my", "--", "-e", "select nothing"}, "", 1, "Unknown column"},
		{"redis-cli", redis, []string{"redis-cli"}, []string{"cache", "--", "eval", "return 6*7", "0"}, "", 0, "42\n"},
		{"redis-cli input", redis, []string{"redis-cli"}, []string{"cache"}, "echo hello\n", 0, "hello\n"},
	}
	for _, way := range []string{"raw", "websocket nginx"} {
		t.Run(way, func(t *testing.T) {
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					need(t, tt.client...)
					tt.server.get(t)
					nothingLeft(t)
					p := connectTo(t, transportNamed(t, way), options{input: tt.input}, tt.args...)
					if code := p.wait(); code != tt.code {
						t.Errorf("exit code %d, want %d", code, tt.code)
					}
					if said := p.stdout.String() + p.stderr.String(); !strings.Contains(said, tt.says) || strings.Contains(said, "tshx:") {
						t.Errorf("said %q, want %q and nothing of tshx", said, tt.says)
					}
				})
			}
		})
	}
}

// terminal is `tshx db connect` on a terminal of its own.
type terminal struct {
	*program
	keys   *os.File
	screen *output
}

// onTerminal starts tshx as the leader of a session with a terminal.
func onTerminal(t *testing.T, tr *transport, args ...string) *terminal {
	t.Helper()
	return startOnTerminal(t, tr, append([]string{tshxPath, "db", "connect"}, args...)...)
}

func startOnTerminal(t *testing.T, tr *transport, argv ...string) *terminal {
	t.Helper()
	need(t, "setsid")
	opened, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	// One whose Close ends a Read.
	fd, err := syscall.Dup(int(opened.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
	syscall.SetNonblock(fd, true)
	master := os.NewFile(uintptr(fd), "terminal")
	o := tr.options()
	o.env = append(o.env, "TERM=dumb", "PAGER=cat")
	o.stdin, o.stdout = tty, tty
	term := &terminal{keys: master, screen: &output{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(term.screen, master) // ends with EIO when nobody has the terminal open any more
	}()
	term.program = launch(t, o, append([]string{"setsid", "--ctty"}, argv...)...)
	tty.Close()
	t.Cleanup(func() {
		master.Close()
		<-read
		if t.Failed() {
			t.Logf("screen: %s", clip(term.screen.String()))
		}
	})
	return term
}

// types sends text to the terminal and waits until the screen or standard error
// shows want n times.
func (term *terminal) types(text, want string, n int) {
	term.t.Helper()
	if _, err := io.WriteString(term.keys, text); err != nil {
		term.t.Fatal(err)
	}
	shown := func() bool {
		return strings.Count(term.screen.String()+term.stderr.String(), want) >= n || term.ended()
	}
	if !eventually(patience, shown) || term.ended() {
		term.t.Fatalf("after %q there was no %q", text, want)
	}
}

// awaitQuery waits until the server sleeps in a query.
func awaitQuery(t *testing.T, query string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), "postgres://postgres@"+postgres.get(t).Addr+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	running := func() (found bool) {
		if err := c.QueryRow(t.Context(), "select exists (select from pg_stat_activity where query = $1 and wait_event = 'PgSleep')",
			query).Scan(&found); err != nil {
			t.Fatal(err)
		}
		return found
	}
	if !eventually(patience, running) {
		t.Fatalf("the query did not start: %s", query)
	}
}

// Ctrl-C belongs to psql: it cancels queries, as often as one likes, and neither
// psql nor the tunnel ends of it.
func TestDBConnectKeys(t *testing.T) {
	need(t, "psql")
	postgres.get(t)
	for _, way := range []string{"raw", "websocket nginx"} {
		t.Run(way, func(t *testing.T) {
			nothingLeft(t)
			term := onTerminal(t, transportNamed(t, way), "pg", "--", "-X")
			term.types("", "orders=>", 1)
			for i := range 3 {
				query := fmt.Sprintf("select /* %s %d */ pg_sleep(100);", t.Name(), i)
				term.keys.WriteString(query + "\n")
				awaitQuery(t, query)
				term.types("\x03", "canceling statement due to user request", i+1)
			}
			term.types("select 'an'||'swer';\n", "answer", 1)
			term.keys.WriteString("\\q\n")
			if code := term.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if strings.Contains(term.stderr.String(), "tshx:") {
				t.Errorf("tshx said something: %s", term.stderr.String())
			}
		})
	}
}

// A shell stops both by Ctrl-Z, and continues both.
func TestDBConnectStops(t *testing.T) {
	need(t, "bash", "psql")
	postgres.get(t)
	nothingLeft(t)
	term := startOnTerminal(t, transportNamed(t, "raw"), "bash", "--norc", "--noprofile", "-i")
	term.types("PS1='shell> '\n", "shell> ", 1)
	term.types(tshxPath+" db connect pg -- -X\n", "orders=>", 1)
	term.types("\x1a", "Stopped", 1)
	term.types("fg\n", "db connect", 2)
	term.types("select 'an'||'swer';\n", "answer", 1)
	term.keys.WriteString("\\q\n")
	term.types("echo code=$?\n", "code=0", 1)
	term.keys.WriteString("exit\n")
	term.wait()
}

// Whatever ends tshx ends the client.
func TestDBConnectEnds(t *testing.T) {
	need(t, "psql")
	postgres.get(t)
	for _, tt := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGTERM, 128 + 15}, {syscall.SIGHUP, 128 + 1}, {syscall.SIGKILL, -1}} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			nothingLeft(t)
			term := onTerminal(t, transportNamed(t, "raw"), "pg", "--", "-X")
			term.types("", "orders=>", 1)
			term.signal(tt.signal)
			if code := term.wait(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			noneLeft(t)
		})
	}
}

// A terminal that goes takes all with it.
func TestDBConnectTerminalGone(t *testing.T) {
	need(t, "psql")
	postgres.get(t)
	nothingLeft(t)
	term := onTerminal(t, transportNamed(t, "raw"), "pg", "--", "-X")
	term.types("", "orders=>", 1)
	term.keys.Close()
	term.wait()
	noneLeft(t)
}

func TestDBConnectWithoutClient(t *testing.T) {
	postgres.get(t)
	p := connectTo(t, transportNamed(t, "raw"), options{env: []string{"PATH=/nonexistent"}}, "pg")
	if code := p.wait(); code != codeFailure {
		t.Errorf("exit code %d", code)
	}
	oneLine(t, p.stderr.String(), `psql.* not installed; install it \(.*\).*tshx proxy db pg --tunnel$`)
}

// TestDBPing asks real servers, without any program at hand.
func TestDBPing(t *testing.T) {
	for _, way := range []string{"raw", "websocket nginx", "legacy nginx"} {
		for name, server := range map[string]*shared[*peer.Server]{"pg": postgres, "my": mariadb, "cache": redis} {
			t.Run(way+"/"+name, func(t *testing.T) {
				server.get(t)
				o := transportNamed(t, way).options()
				o.env = append(o.env, "PATH=/nonexistent")
				var pong struct {
					Version, Transport string
					TLS                struct{ Version, ALPN string }
					RoundTrip          float64 `json:"round_trip_ms"`
				}
				out := execute(t, o, tshxPath, "db", "ping", name, "--format", "json")
				if err := json.Unmarshal([]byte(out), &pong); err != nil {
					t.Fatal(err)
				}
				want, _, _ := strings.Cut(way, " ")
				if pong.Version == "" || pong.Transport != want || pong.TLS.Version != "TLS 1.3" || pong.TLS.ALPN == "" || pong.RoundTrip <= 0 {
					t.Errorf("got %s", out)
				}
			})
		}
	}
}

// What `db config` prints works without a local proxy.
func TestDBConfigWorks(t *testing.T) {
	need(t, "redis-cli", "psql")
	redis.get(t)
	postgres.get(t)
	o := transportNamed(t, "raw").options()
	for _, tt := range []struct {
		db   string
		args []string
		want string
	}{
		{"cache", []string{"ping"}, "PONG\n"},
		{"pg", []string{"-XAtc", "select 6*7"}, "42\n"},
	} {
		line := strings.TrimSpace(execute(t, o, tshxPath, "db", "config", tt.db, "--format", "cmd"))
		c := pasted(t, line, tt.args...)
		if code := c.wait(); code != 0 || c.stdout.String() != tt.want {
			t.Errorf("%s: exit code %d, %q", line, code, c.stdout.String())
		}
	}
	env := execute(t, o, tshxPath, "db", "env", "pg")
	c := launch(t, options{}, "sh", "-c", env+"\nexec psql -XAtc 'select 6*7'")
	if code := c.wait(); code != 0 || c.stdout.String() != "42\n" {
		t.Errorf("%s: exit code %d, %q", env, code, c.stdout.String())
	}
}

// What `db login` writes works with the local proxy that it names.
func TestDBLoginWorks(t *testing.T) {
	need(t, "mysql")
	mariadb.get(t)
	nothingLeft(t)
	tr := transportNamed(t, "raw")
	o := tr.options()
	home := t.TempDir()
	port, err := peer.FreePort()
	check(t, err)
	o.env = append(o.env, "HOME="+home, fmt.Sprintf("TSHX_PORT_RANGE=%d-%d", port, port))
	login := launch(t, o, tshxPath, "db", "login", "my")
	proxy := strings.Fields(login.lineAfter("while: "))
	tr.start(t, proxy[1:]...).lineAfter("address: ")
	c := launch(t, options{env: []string{"HOME=" + home}}, "sh", "-c", login.lineAfter("connect: ")+" -Ne 'select 6*7'")
	if code := c.wait(); code != 0 || c.stdout.String() != "42\n" {
		t.Errorf("exit code %d, %q", code, c.stdout.String())
	}
	if code := login.wait(); code != 0 {
		t.Errorf("login: exit code %d", code)
	}
}
