package dbproxy

import (
	"tshx/internal/tlsroute"
)

// cassandra has clients that ask for a password, of which the proxy takes any;
// cqlsh takes one from nowhere but a file or its arguments.
var cassandra = Engine{
	Protocol:   "cassandra",
	Title:      "Cassandra",
	ALPN:       tlsroute.ALPNCassandra,
	TunnelOnly: true,
	Clients: []Client{{Program: "cqlsh", Install: "Python package cqlsh", Args: func(e Endpoint) []string {
		// Longer than the dial behind the local proxy, to see why it failed.
		args := []string{"--connect-timeout=" + cassandraWait}
		if e.User != "" {
			args = append(args, "-u", e.User)
		}
		if e.Name != "" {
			args = append(args, "-k", e.Name)
		}
		return append(args, e.Host, e.Port)
	}}},
	URL: func(e Endpoint) string {
		url := "jdbc:cassandra://" + e.Addr()
		if e.Name != "" {
			url += "/" + queryPath(e.Name)
		}
		return url
	},
	Env:    func(e Endpoint) []string { return []string{"CQLSH_HOST=" + e.Host, "CQLSH_PORT=" + e.Port} },
	Speaks: cassandraSpeaks,
	Refuse: cassandraRefuse,
	Ping:   cassandraPing,
}

// cassandraWait is how long cqlsh waits for a connection, in seconds.
const cassandraWait = "20"
