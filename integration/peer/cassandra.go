//go:build linux

package peer

import (
	"context"
	"net"
	"strconv"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
)

// CassandraPassword is what StartCassandra's account logs in with.
const CassandraPassword = "tshx"

// StartCassandra runs a server that speaks Cassandra's protocol by a library,
// lets acct in with CassandraPassword and keeps blobs in memory; Cassandra
// itself is in no package.
func StartCassandra(acct Account) (*Server, error) {
	if err := FindAll("cassandra"); err != nil {
		return nil, err
	}
	return blueprint{
		name: "cassandra",
		argv: func(_ string, addrs []string) ([]string, error) {
			return []string{"cassandra", "-listen", addrs[0], "-user", acct.User, "-password", CassandraPassword}, nil
		},
		ready: func(_ context.Context, addrs []string) error {
			s, err := DialCassandra(addrs[0], acct)
			if err == nil {
				s.Close()
			}
			return err
		},
	}.start()
}

// DialCassandra connects to the one server at addr, and to no other that it may
// name.
func DialCassandra(addr string, acct Account) (*gocql.Session, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	c := gocql.NewCluster(host)
	if c.Port, err = strconv.Atoi(port); err != nil {
		return nil, err
	}
	c.ProtoVersion = 4
	c.NumConns = 1
	c.Metadata.CacheMode = gocql.Disabled // the server has no schema
	c.DisableInitialHostLookup = true
	c.Authenticator = gocql.PasswordAuthenticator{Username: acct.User, Password: CassandraPassword}
	c.Logger = gocql.NewLogger(gocql.LogLevelNone)
	return c.CreateSession()
}
