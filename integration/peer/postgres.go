//go:build linux

package peer

import (
	"context"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// Account is whom the database servers let in, without a password: the user,
// and the database that belongs to it.
type Account struct {
	User     string
	Database string
}

// StartPostgres runs a PostgreSQL server that trusts every user on loopback.
func StartPostgres(acct Account) (*Server, error) {
	if err := FindAll("initdb", "postgres"); err != nil {
		return nil, err
	}
	const system = "postgres"
	return blueprint{
		name: "postgres", user: system,
		// SIGINT: end sessions instead of waiting for them.
		stop: syscall.SIGINT,
		prepare: func(dir string) error {
			if err := own(filepath.Join(dir, "data"), system); err != nil {
				return err
			}
			initdb, err := Find("initdb")
			if err != nil {
				return err
			}
			return command(dir, system, initdb, "-D", filepath.Join(dir, "data"), "--auth=trust",
				"--username=postgres", "--no-sync", "--locale=C", "--encoding=UTF8")
		},
		argv: func(dir string, addrs []string) ([]string, error) {
			return []string{"postgres", "-D", filepath.Join(dir, "data"), "-h", "127.0.0.1", "-p", portOf(addrs[0]),
				"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=200",
				"-c", "shared_buffers=32MB"}, nil
		},
		ready: func(ctx context.Context, addrs []string) error { return createPostgres(ctx, addrs[0], acct) },
	}.start()
}

// createPostgres makes the account where it does not exist yet.
func createPostgres(ctx context.Context, addr string, acct Account) error {
	c, err := pgx.Connect(ctx, "postgres://postgres@"+addr+"/postgres?sslmode=disable")
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	var exists bool
	err = c.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", acct.User).Scan(&exists)
	if err != nil || exists {
		return err
	}
	user, db := pgx.Identifier{acct.User}.Sanitize(), pgx.Identifier{acct.Database}.Sanitize()
	if _, err := c.Exec(ctx, "create role "+user+" login"); err != nil {
		return err
	}
	_, err = c.Exec(ctx, "create database "+db+" owner "+user)
	return err
}
