package dbproxy

import (
	"net/url"
	"strings"

	"tshx/internal/tlsroute"
)

// sqlserverPassword is for clients that insist on one: the proxy takes any,
// because the certificate is what counts.
const sqlserverPassword = "tshx"

// Clients are told not to encrypt: the proxy offers no encryption inside a
// tunnel, and new clients insist on it by default. The old sqlcmd asks only to
// be told so since its version 18 (16 on Windows).
var sqlserver = Engine{
	Protocol:   "sqlserver",
	Title:      "SQL Server",
	ALPN:       tlsroute.ALPNSQLServer,
	NeedsName:  true,
	TunnelOnly: true,
	Clients: []Client{
		{Program: "sqlcmd", Install: "https://github.com/microsoft/go-sqlcmd", Is: newSQLCmd,
			Args: func(e Endpoint) []string { return sqlserverArgs(e, "-N", "disable") }, Env: sqlcmdPassword},
		{Program: "sqlcmd", Install: "package mssql-tools18 of Microsoft", Is: mildSQLCmd,
			Args: func(e Endpoint) []string { return sqlserverArgs(e) }, Env: sqlcmdPassword},
		{Program: "sqlcmd", Install: "package mssql-tools18 of Microsoft",
			Args: func(e Endpoint) []string { return sqlserverArgs(e, "-No") }, Env: sqlcmdPassword},
		{Program: "mssql-cli", Install: "Python package mssql-cli",
			Args: func(e Endpoint) []string { return sqlserverArgs(e) },
			Env:  func(Endpoint) []string { return []string{"MSSQL_CLI_PASSWORD=" + sqlserverPassword} }},
	},
	URL: func(e Endpoint) string {
		u := &url.URL{Scheme: "sqlserver", Host: e.Addr()}
		q := "encrypt=disable"
		if e.Name != "" {
			q = "database=" + url.QueryEscape(e.Name) + "&" + q
		}
		u.RawQuery = q
		if e.User != "" {
			u.User = url.User(e.User)
		}
		return u.String()
	},
	Env: func(e Endpoint) []string {
		env := append(sqlcmdPassword(e), "SQLCMDSERVER="+sqlserverAddr(e))
		if e.User != "" {
			env = append(env, "SQLCMDUSER="+e.User)
		}
		if e.Name != "" {
			env = append(env, "SQLCMDDBNAME="+e.Name)
		}
		return env
	},
	Speaks: sqlserverSpeaks,
	Refuse: sqlserverRefuse,
	Ping:   sqlserverPing,
}

func sqlcmdPassword(Endpoint) []string { return []string{"SQLCMDPASSWORD=" + sqlserverPassword} }

// sqlserverAddr is the address in the form of SQL Server's clients.
func sqlserverAddr(e Endpoint) string { return e.Host + "," + e.Port }

func sqlserverArgs(e Endpoint, more ...string) []string {
	args := []string{"-S", sqlserverAddr(e)}
	if e.User != "" {
		args = append(args, "-U", e.User)
	}
	if e.Name != "" {
		args = append(args, "-d", e.Name)
	}
	return append(args, more...)
}

// newSQLCmd tells the sqlcmd in Go from the one on ODBC, whose help begins with
// its maker's title.
func newSQLCmd(e Endpoint) bool {
	return !strings.Contains(e.says("sqlcmd", "-?"), "Command Line Tool")
}

// mildSQLCmd reports whether the sqlcmd on ODBC is of a version that does not
// encrypt unless it is told to.
func mildSQLCmd(e Endpoint) bool {
	_, version, _ := strings.Cut(e.says("sqlcmd", "-?"), "Version ")
	major, _, _ := strings.Cut(version, ".")
	switch major {
	case "11", "12", "13", "14", "15", "17":
		return true
	}
	return false
}
