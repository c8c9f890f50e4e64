package dbproxy

import (
	"net/url"
	"strings"

	"tshx/internal/tlsroute"
)

// oracle has clients that ask for a password, of which the proxy takes any;
// they take one from nowhere but their arguments.
var oracle = Engine{
	Protocol:   "oracle",
	Title:      "Oracle",
	ALPN:       tlsroute.ALPNOracle,
	NeedsName:  true,
	TunnelOnly: true,
	Clients: []Client{
		{Program: "sql", Install: "Oracle SQLcl", Args: oracleArgs, Is: sqlcl},
		{Program: "sqlplus", Install: "Oracle Instant Client", Args: oracleArgs},
	},
	URL: func(e Endpoint) string { return "jdbc:oracle:thin:@" + oracleAddr(e) },
	Env: func(e Endpoint) []string { return []string{"TWO_TASK=" + oracleAddr(e)} },
	// A refusal has a number, which clients show with a text of their own.
	Speaks: oracleSpeaks,
	Refuse: oracleRefuse,
	Ping:   oraclePing,
}

// oracleAddr is the address as all clients since Oracle 10 take it.
func oracleAddr(e Endpoint) string { return "//" + e.Addr() + "/" + url.PathEscape(e.Name) }

// oracleArgs asks for one attempt to log in.
func oracleArgs(e Endpoint) []string { return []string{"-L", e.User + "@" + oracleAddr(e)} }

// sqlcl tells SQLcl from other programs with its short name.
func sqlcl(e Endpoint) bool { return !e.has("sql") || strings.Contains(e.says("sql", "-V"), "SQLcl") }
