//go:build linux

package peer

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"

	"github.com/go-sql-driver/mysql"
)

// StartMariaDB runs a MariaDB server that lets acct in from anywhere, with
// mysql_native_password and an empty password.
func StartMariaDB(acct Account) (*Server, error) {
	if err := FindAll("mariadb-install-db", "mariadbd"); err != nil {
		return nil, err
	}
	const system = "mysql"
	return blueprint{
		name: "mariadb", user: system,
		prepare: func(dir string) error {
			for _, d := range []string{"data", "tmp"} {
				if err := own(filepath.Join(dir, d), system); err != nil {
					return err
				}
			}
			if _, err := write(dir, "init.sql", fmt.Sprintf(`create database if not exists %[2]s;
create user if not exists '%[1]s'@'%%' identified via mysql_native_password using password('');
grant all on %[2]s.* to '%[1]s'@'%%';
`, acct.User, acct.Database), 0o644); err != nil {
				return err
			}
			install, err := Find("mariadb-install-db")
			if err != nil {
				return err
			}
			return command(dir, system, install, "--no-defaults", "--datadir="+filepath.Join(dir, "data"),
				"--tmpdir="+filepath.Join(dir, "tmp"), "--skip-test-db", "--auth-root-authentication-method=normal",
				"--skip-log-bin", "--innodb-flush-log-at-trx-commit=0")
		},
		argv: func(dir string, addrs []string) ([]string, error) {
			return []string{"mariadbd", "--no-defaults", "--datadir=" + filepath.Join(dir, "data"),
				"--tmpdir=" + filepath.Join(dir, "tmp"), "--socket=" + filepath.Join(dir, "tmp", "sock"),
				"--pid-file=" + filepath.Join(dir, "tmp", "pid"), "--init-file=" + filepath.Join(dir, "init.sql"),
				"--bind-address=127.0.0.1", "--port=" + portOf(addrs[0]), "--skip-name-resolve",
				"--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M",
				"--max-allowed-packet=64M"}, nil
		},
		ready: func(ctx context.Context, addrs []string) error { return pingMySQL(ctx, addrs[0], acct) },
	}.start()
}

func pingMySQL(ctx context.Context, addr string, acct Account) error {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.DBName = "tcp", addr, acct.User, acct.Database
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return db.PingContext(ctx)
}
