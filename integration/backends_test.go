//go:build linux

package integration

import (
	"os/user"

	"tshx/integration/peer"
)

// account is whom the database servers know.
var account = peer.Account{User: "alice", Database: "orders"}

// The servers behind the cluster, shared by all clusters of a run.
var (
	postgres = share(func() (*peer.Server, error) { return kept(peer.StartPostgres(account)) })
	mariadb  = share(func() (*peer.Server, error) { return kept(peer.StartMariaDB(account)) })
	redis    = share(func() (*peer.Server, error) { return kept(peer.StartRedis()) })
)

// addrOf returns the address of a server. Where it does not run there is one
// that nobody answers at: the tests that need the server skip themselves.
func addrOf(s *shared[*peer.Server]) string {
	if v, err := s.load(); err == nil {
		return v.Addr
	}
	return "127.0.0.1:1"
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
