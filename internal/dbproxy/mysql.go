package dbproxy

import (
	"net/url"

	"tshx/internal/tlsroute"
)

var mysql = Engine{
	Protocol:    "mysql",
	Title:       "MySQL",
	ALPN:        tlsroute.ALPNMySQL,
	ServerFirst: true,
	Command:     mysqlCommand,
	URL: func(e Endpoint) *url.URL {
		u := &url.URL{Scheme: "mysql", Host: e.Addr(), Path: "/" + e.Name}
		if e.User != "" {
			u.User = url.User(e.User)
		}
		return u
	},
}

// mysqlCommand names the protocol because a host of "localhost" means the
// default Unix socket to both clients. Their options for checking the server's
// name differ.
func mysqlCommand(e Endpoint) []string {
	client, verify := "mysql", "--ssl-mode=VERIFY_IDENTITY"
	if e.has("mariadb") {
		client, verify = "mariadb", "--ssl-verify-server-cert"
	}
	args := []string{client, "--protocol=TCP", "--host=" + e.Host, "--port=" + e.Port}
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
