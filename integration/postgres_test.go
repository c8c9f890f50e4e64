//go:build linux

package integration

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// mode is the flag for the mode of `tshx proxy db`.
func mode(tunnel bool) []string {
	if tunnel {
		return []string{"--tunnel"}
	}
	return nil
}

// pasted runs a printed command line in a shell, as people do, with further
// arguments.
func pasted(t testing.TB, line string, args ...string) *program {
	t.Helper()
	return launch(t, options{}, append([]string{"sh", "-c", "exec env " + line + ` "$@"`, "sh"}, args...)...)
}

func postgresClients(t *testing.T, tr *transport, tunnel bool) {
	need(t, "psql")
	postgres.get(t)
	p := tr.start(t, append([]string{"proxy", "db", "pg"}, mode(tunnel)...)...)
	t.Run("psql", func(t *testing.T) {
		c := pasted(t, p.lineAfter("connect: "), "-XAt", "-c", "select current_user, current_database(), count(*) from generate_series(1, 100000)")
		if code := c.wait(); code != 0 || strings.TrimSpace(c.stdout.String()) != "alice|orders|100000" {
			t.Errorf("exit code %d, %q", code, c.stdout.String())
		}
	})
	t.Run("psql cancel", func(t *testing.T) { postgresCancel(t, p.lineAfter("connect: ")) })
	t.Run("pgx", func(t *testing.T) { postgresDriver(t, p.lineAfter("url: ")) })
}

// postgresCancel interrupts a running query. psql sends the request on a
// connection of its own, without TLS even where the session has it.
func postgresCancel(t *testing.T, line string) {
	// The comment finds the session among those of other tests.
	query := fmt.Sprintf("select /* %s */ pg_sleep(100)", t.Name())
	c := pasted(t, line, "-X", "-c", query)
	direct, err := pgx.Connect(t.Context(), "postgres://postgres@"+postgres.get(t).Addr+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	running := func() (found bool) {
		err := direct.QueryRow(t.Context(), "select exists (select from pg_stat_activity where query = $1 and wait_event = 'PgSleep')",
			query).Scan(&found)
		return err != nil || found || c.ended()
	}
	if !eventually(patience, running) || c.ended() {
		t.Fatalf("the query did not start: %s", c.stderr.String())
	}
	c.signal(syscall.SIGINT)
	c.wait()
	if got := c.stderr.String(); !strings.Contains(got, "canceling statement due to user request") {
		t.Errorf("psql said %q", got)
	}
}

func postgresDriver(t *testing.T, url string) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: pc, DeadlineDelay: 30 * time.Second}
	}
	c, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	const size = 8 << 20
	var got int
	if err := c.QueryRow(t.Context(), "select length($1::text)", strings.Repeat("x", size)).Scan(&got); err != nil || got != size {
		t.Errorf("sent %d bytes, the server saw %d: %v", size, got, err)
	}
	var text string
	if err := c.QueryRow(t.Context(), "select repeat('y', $1)", size).Scan(&text); err != nil || len(text) != size {
		t.Errorf("received %d bytes of %d: %v", len(text), size, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Exec(ctx, "select pg_sleep(100)"); err == nil {
		t.Error("a cancelled query succeeded")
	}
	if err := c.QueryRow(t.Context(), "select 1").Scan(&got); err != nil || got != 1 {
		t.Errorf("after a cancelled query: %d, %v", got, err)
	}
}
