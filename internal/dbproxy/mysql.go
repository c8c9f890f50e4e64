package dbproxy

import (
	"net/url"
	"strings"

	"tshx/internal/tlsroute"
)

var mysql = Engine{
	Protocol:    "mysql",
	Title:       "MySQL",
	ALPN:        tlsroute.ALPNMySQL,
	ServerFirst: true,
	// MariaDB's client is taken where both are installed, and a server unknown
	// to it takes no harm; without any, the name that all know is printed.
	Clients: []Client{
		{Program: "mysql", Install: "Debian package default-mysql-client", Is: oracles,
			Args: func(e Endpoint) []string { return mysqlArgs(e, "--ssl-mode=VERIFY_IDENTITY") }},
		{Program: "mariadb", Install: "Debian package mariadb-client", Args: mariadbArgs},
		{Program: "mysql", Install: "Debian package mariadb-client", Args: mariadbArgs},
	},
	URL: func(e Endpoint) string {
		u := &url.URL{Scheme: "mysql", Host: e.Addr(), Path: "/" + e.Name}
		if e.User != "" {
			u.User = url.User(e.User)
		}
		return u.String()
	},
}

// oracles tells Oracle's mysql from MariaDB's, which has the same name.
func oracles(e Endpoint) bool {
	return !e.has("mariadb") && !strings.Contains(strings.ToLower(e.says("mysql", "--version")), "mariadb")
}

func mariadbArgs(e Endpoint) []string { return mysqlArgs(e, "--ssl-verify-server-cert") }

// mysqlArgs names the protocol because a host of "localhost" means the default
// Unix socket to both clients. Their options for checking the server's name
// differ.
func mysqlArgs(e Endpoint, verify string) []string {
	args := []string{"--protocol=TCP", "--host=" + e.Host, "--port=" + e.Port}
	if e.User != "" {
		args = append(args, "--user="+e.User)
	}
	if !e.Tunnel {
		args = append(args, "--ssl-ca="+e.Files.CA, "--ssl-cert="+e.Files.Cert, "--ssl-key="+e.Files.Key, verify)
	}
	if e.Name != "" {
		args = append(args, "--database="+e.Name)
	}
	return args
}
