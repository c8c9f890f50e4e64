package dbproxy

import "tshx/internal/tlsroute"

// cockroachdb speaks PostgreSQL's protocol. A client that names no database
// gets "defaultdb".
var cockroachdb = Engine{
	Protocol: "cockroachdb",
	Title:    "CockroachDB",
	Wire:     "PostgreSQL",
	ALPN:     tlsroute.ALPNPostgres,
	Clients: []Client{
		{Program: "cockroach", Install: "https://www.cockroachlabs.com/docs/releases",
			Args: func(e Endpoint) []string { return []string{"sql", "--url", postgresURL(e)} }},
		{Program: "psql", Install: "Debian package postgresql-client",
			Args: func(e Endpoint) []string { return []string{postgresURL(e)} }},
	},
	URL:         postgresURL,
	Env:         cockroachdbEnv,
	Sockets:     postgresSocket,
	ClientFile:  postgresClientFile,
	NeedsCert:   postgresCancel,
	Unanswered:  postgresUnanswered,
	Speaks:      postgresSpeaks,
	StartsPlain: postgresStartsPlain,
	Refuse:      postgresRefuse,
	Ping:        cockroachdbPing,
}

// cockroachdbEnv serves the programs made for PostgreSQL and the one of
// CockroachDB.
func cockroachdbEnv(e Endpoint) []string {
	return append(postgresEnv(e), "COCKROACH_URL="+postgresURL(e))
}
