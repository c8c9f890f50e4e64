//go:build linux

package integration

import (
	"net"
	"os/user"

	"tshx/integration/peer"
	"tshx/internal/lab"
)

// account is whom the database servers know.
var account = peer.Account{User: "alice", Database: "orders"}

// The servers behind the cluster, shared by all clusters of a run.
var (
	postgres   = share(func() (*peer.Server, error) { return kept(peer.StartPostgres(account)) })
	mariadb    = share(func() (*peer.Server, error) { return kept(peer.StartMariaDB(account)) })
	redis      = share(func() (*peer.Server, error) { return kept(peer.StartRedis()) })
	mongodb    = share(func() (*peer.Server, error) { return kept(peer.StartMongoDB()) })
	clickhouse = share(func() (*peer.Server, error) { return kept(peer.StartClickHouse(account)) })
	cassandra  = share(func() (*peer.Server, error) { return kept(peer.StartCassandra(account)) })
)

// nobody is an address that nobody answers at.
const nobody = "127.0.0.1:1"

// databases are those of every cluster. For each protocol there is one whose
// server is down, too.
func databases() ([]lab.Database, error) {
	list := []lab.Database{
		{Name: "pg", Protocol: "postgres", Addr: addrOf(postgres), User: account.User, Database: account.Database},
		// CockroachDB speaks PostgreSQL's protocol and has a route of that name.
		{Name: "roach", Protocol: "cockroachdb", Addr: addrOf(postgres), User: account.User, Database: account.Database},
		{Name: "my", Protocol: "mysql", Addr: addrOf(mariadb), User: account.User, Database: account.Database},
		{Name: "cache", Protocol: "redis", Addr: addrOf(redis), User: "default"},
	}
	for _, b := range []struct {
		name, protocol string
		serve          func(*net.TCPConn)
	}{
		{"docs", "mongodb", onDemand(mongodb, 0)},
		{"facts", "clickhouse", onDemand(clickhouse, 0)},
		{"facts-http", "clickhouse-http", onDemand(clickhouse, 1)},
		{"mssql", "sqlserver", serveTDS},
		{"wide", "cassandra", onDemand(cassandra, 0)},
		{"search", "elasticsearch", serveHTTP(`{"version":{"number":"8.0.0"},"tagline":"You Know, for Search"}`)},
		{"tables", "dynamodb", serveHTTP(`{"TableNames":["orders"]}`)},
	} {
		s, err := startService(b.serve)
		if err != nil {
			return nil, err
		}
		list = append(list, lab.Database{Name: b.name, Protocol: b.protocol, Addr: s.addr, User: account.User, Database: account.Database})
	}
	for _, db := range list {
		db.Name, db.Addr = down(db.Name), nobody
		list = append(list, db)
	}
	return list, nil
}

// down is the name of the database whose server does not run.
func down(name string) string { return name + "-down" }

// addrOf returns the address of a server. Where it does not run there is one
// that nobody answers at: the tests that need the server skip themselves.
func addrOf(s *shared[*peer.Server]) string {
	if v, err := s.load(); err == nil {
		return v.Addr
	}
	return nobody
}

// onDemand carries connections to one of the addresses of a server, which
// starts with the first one.
func onDemand(s *shared[*peer.Server], n int) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		v, err := s.load()
		if err != nil {
			reset(c)
			return
		}
		(&switchboard{target: v.Addrs[n], open: map[*net.TCPConn]bool{}}).carry(c)
	}
}

// kept ends a server with the run.
func kept(s *peer.Server, err error) (*peer.Server, error) {
	if err == nil {
		atExit(s.Close)
	}
	return s, err
}

// osUser is the login on the SSH node: sshd lets in only the user that it runs
// as, and everybody when it is root.
func osUser() string {
	u, err := user.Current()
	if err != nil {
		return "root"
	}
	return u.Username
}
