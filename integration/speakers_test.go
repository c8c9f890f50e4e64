//go:build linux

package integration

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"tshx/integration/peer"
)

// speaker is a program that people use with one kind of database, asking one
// question.
type speaker struct {
	name     string
	database string
	server   *shared[*peer.Server] // what must be installed besides; may be nil
	needs    []string
	module   string // of Debian's Python; may be empty
	// ask are the arguments after the printed command line.
	ask []string
	// argv makes the command line where the printed one is not the program's.
	argv  func(host, port string) []string
	env   []string
	input string
	// answer is part of what it prints when the database answers.
	answer string
	// works takes the place of an answer: the server that there is does not
	// speak to this program.
	works func(t testing.TB, addr string)
	// plain says that it can do TLS itself.
	plain bool
}

var speakers = []speaker{
	{name: "psql", database: "pg", server: postgres, needs: []string{"psql"}, plain: true, ask: []string{"-XAtc", "select 6*7"}, answer: "42"},
	{name: "psql cockroachdb", database: "roach", server: postgres, needs: []string{"psql"}, ask: []string{"-XAtc", "select 6*7"}, answer: "42",
		argv: func(host, port string) []string {
			return []string{"psql", "-h", host, "-p", port, "-U", account.User, account.Database}
		}},
	{name: "mariadb", database: "my", server: mariadb, needs: []string{"mariadb"}, plain: true, ask: []string{"-Ne", "select 6*7"}, answer: "42"},
	{name: "redis-cli", database: "cache", server: redis, needs: []string{"redis-cli"}, plain: true, ask: []string{"-e", "eval", "return 6*7", "0"}, answer: "42"},
	{name: "mongosh", database: "docs", server: mongodb, needs: []string{"mongosh"}, plain: true,
		ask: []string{"--quiet", "--norc", "--eval", "db.runCommand({ping: 1}).ok * 42"}, answer: "42"},
	{name: "clickhouse-client", database: "facts", server: clickhouse, needs: []string{"clickhouse-client"},
		ask: []string{"--query", "select 6*7"}, answer: "42"},
	{name: "curl clickhouse", database: "facts-http", server: clickhouse, needs: []string{"curl"}, answer: "."},
	{name: "curl elasticsearch", database: "search", needs: []string{"curl"}, plain: true, answer: "You Know"},
	{name: "aws", database: "tables", needs: []string{"aws"}, ask: []string{"list-tables"}, answer: "orders",
		env: []string{"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true"}},
	{name: "tsql", database: "mssql", needs: []string{"tsql"}, input: "select 42\ngo\nexit\n", answer: "42",
		argv: func(host, port string) []string {
			return []string{"tsql", "-o", "q", "-H", host, "-p", port, "-U", account.User, "-P", "x"}
		}},
	{name: "cassandra driver", database: "wide", server: cassandra, module: "cassandra", works: cassandraWorks,
		argv: func(host, port string) []string {
			return []string{"/usr/bin/python3", "-c", cassandraProgram, host, port, account.User, peer.CassandraPassword}
		}},
}

// cassandraProgram uses the driver that cqlsh, which has no package, is built
// on.
const cassandraProgram = `
import sys
from cassandra.cluster import Cluster
from cassandra.auth import PlainTextAuthProvider
host, port, user, password = sys.argv[1:]
cluster = Cluster([host], port=int(port), auth_provider=PlainTextAuthProvider(user, password), protocol_version=4,
    schema_metadata_enabled=False, token_metadata_enabled=False, connect_timeout=30, control_connection_timeout=30)
print(cluster.connect().execute("select release_version from system.local").one()[0])
cluster.shutdown()
`

func cassandraWorks(t testing.TB, addr string) {
	t.Helper()
	session, err := peer.DialCassandra(addr, account)
	check(t, err)
	session.Close()
}

func speakerNamed(t testing.TB, name string) speaker {
	t.Helper()
	for _, s := range speakers {
		if s.name == name {
			return s
		}
	}
	t.Fatalf("no client %q", name)
	return speaker{}
}

// need skips the test where the client, or its server, is not installed.
func (s speaker) need(t testing.TB) {
	t.Helper()
	need(t, s.needs...)
	if s.module != "" && exec.Command("/usr/bin/python3", "-c", "import "+s.module).Run() != nil {
		check(t, &peer.MissingError{Program: s.name, Package: "python3-" + s.module})
	}
	if s.server != nil {
		s.server.get(t)
	}
}

// asks runs the client against a running tshx and returns its exit code and all
// it has printed, on one line.
func (s speaker) asks(t testing.TB, p *program) (int, string) {
	t.Helper()
	addr := p.lineAfter("address: ")
	return s.asksAt(t, p.printed("connect: "), addr, addr)
}

// asksAt is asks with a command line that was printed for another address.
func (s speaker) asksAt(t testing.TB, line, printed, addr string) (int, string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	check(t, err)
	_, old, err := net.SplitHostPort(printed)
	check(t, err)
	argv := append([]string{"sh", "-c", `exec env ` + strings.ReplaceAll(line, old, port) + ` "$@"`, "sh"}, s.ask...)
	if s.argv != nil {
		argv = append(s.argv(host, port), s.ask...)
	}
	c := launch(t, options{env: append(s.environ(t), s.env...), input: s.input}, argv...)
	code := c.wait()
	return code, strings.Join(strings.Fields(c.stdout.String()+" "+c.stderr.String()), " ")
}

// told fails the test unless the client has failed and said all of want.
func (s speaker) told(t testing.TB, code int, said string, want []string) {
	t.Helper()
	if code == 0 {
		t.Errorf("%s: exit code 0", s.name)
	}
	for _, w := range want {
		if !strings.Contains(said, w) {
			t.Errorf("%s said %q, without %q", s.name, said, w)
		}
	}
}

// environ is that of a client: a home of its own, and the programs that are
// in no package.
func (s speaker) environ(t testing.TB) []string {
	return []string{"PATH=" + peer.Path(), "HOME=" + t.TempDir()}
}

// answered fails the test if the client gets no answer.
func (s speaker) answered(t testing.TB, p *program) {
	t.Helper()
	if s.works != nil {
		s.works(t, p.lineAfter("address: "))
		return
	}
	if code, said := s.asks(t, p); code != 0 || !strings.Contains(said, s.answer) {
		t.Errorf("%s: exit code %d, said %q, want %q", s.name, code, said, s.answer)
	}
}

// printed is lineAfter for a line that may not be there: once the address is
// printed all is.
func (p *program) printed(prefix string) string {
	p.t.Helper()
	p.lineAfter("address: ")
	for _, l := range lines(p.stdout.String()) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(l), prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
