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
			Args: func(e Endpoint) []string { return mysqlArgs(e, "--ssl-mode=VERIFY_IDENTITY", "--ssl-mode=DISABLED") }},
		{Program: "mariadb", Install: "Debian package mariadb-client", Args: mariadbArgs},
		{Program: "mysql", Install: "Debian package mariadb-client", Args: mariadbArgs},
	},
	URL:        mysqlURL,
	Env:        mysqlEnv,
	Sockets:    anySocket,
	ClientFile: mysqlClientFile,
	Refuse:     mysqlRefuse,
	Ping:       mysqlPing,
}

// mysqlURL has no standard. The parameter is what most drivers that take URLs
// call it.
func mysqlURL(e Endpoint) string {
	u := &url.URL{Scheme: "mysql", Host: e.Addr(), Path: "/" + e.Name}
	if e.Socket != "" {
		u.Host, u.RawQuery = "localhost", "socket="+queryPath(e.Socket)
	}
	if e.User != "" {
		u.User = url.User(e.User)
	}
	return u.String()
}

// oracles tells Oracle's mysql from MariaDB's, which has the same name.
func oracles(e Endpoint) bool {
	return !e.has("mariadb") && !strings.Contains(strings.ToLower(e.says("mysql", "--version")), "mariadb")
}

func mariadbArgs(e Endpoint) []string { return mysqlArgs(e, "--ssl-verify-server-cert", "--skip-ssl") }

// mysqlArgs names the protocol because a host of "localhost" means the default
// Unix socket to both clients. Their options for TLS differ. Off is said
// outright: MariaDB's client insists on TLS by default since 11.4, and before
// that it mistrusts an error that comes without.
func mysqlArgs(e Endpoint, verify, off string) []string {
	args := []string{"--protocol=TCP", "--host=" + e.Host, "--port=" + e.Port}
	if e.Socket != "" {
		args = []string{"--protocol=SOCKET", "--socket=" + e.Socket}
	}
	if e.User != "" {
		args = append(args, "--user="+e.User)
	}
	if e.Tunnel {
		args = append(args, off)
	} else {
		args = append(args, "--ssl-ca="+e.Files.CA, "--ssl-cert="+e.Files.Cert, "--ssl-key="+e.Files.Key, verify)
	}
	if e.Name != "" {
		args = append(args, "--database="+e.Name)
	}
	return args
}

// mysqlEnv are the few variables that clients read. There is none for the user,
// the database or TLS, and an option file's socket, such as Debian's for
// MariaDB, wins over the one here.
func mysqlEnv(e Endpoint) []string {
	if !e.Tunnel {
		return nil
	}
	if e.Socket != "" {
		return []string{"MYSQL_UNIX_PORT=" + e.Socket}
	}
	return []string{"MYSQL_HOST=" + e.Host, "MYSQL_TCP_PORT=" + e.Port}
}

// mysqlClientFile is a group of the user's option file (MySQL manual, "Using
// Option Files"). A program reads it when its suffix is asked for.
func mysqlClientFile(e Endpoint, cluster, database string) ClientFile {
	suffix := "_" + cluster + "-" + database
	f := ClientFile{
		Name: ".my.cnf", Section: "client" + suffix,
		Use: []string{"mysql", "--defaults-group-suffix=" + suffix},
		Env: []string{"MYSQL_GROUP_SUFFIX=" + suffix},
	}
	add := func(option, value string) {
		if value != "" {
			f.Settings = append(f.Settings, option+"="+mysqlOption(value))
		}
	}
	protocol := "TCP"
	if e.Socket != "" {
		protocol = "SOCKET"
	}
	add("protocol", protocol)
	add("host", e.Host)
	add("port", e.Port)
	add("socket", e.Socket)
	add("user", e.User)
	add("database", e.Name)
	add("ssl-ca", e.Files.CA)
	add("ssl-cert", e.Files.Cert)
	add("ssl-key", e.Files.Key)
	// Each flavour refuses to start over an option of the other.
	switch oracle := oracles(e); {
	case oracle && e.Tunnel:
		add("ssl-mode", "DISABLED")
	case oracle:
		add("ssl-mode", "VERIFY_IDENTITY")
	case e.Tunnel:
		f.Settings = append(f.Settings, "skip-ssl")
	default:
		f.Settings = append(f.Settings, "ssl-verify-server-cert")
	}
	return f
}

// mysqlOption quotes a value of an option file where it would be read as
// something else: a comment, an escape, a quote or nothing.
func mysqlOption(value string) string {
	if !strings.ContainsAny(value, "#\\'\" \t") {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`).Replace(value) + `"`
}
