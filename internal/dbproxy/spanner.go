package dbproxy

import (
	"net/url"
	"strings"

	"tshx/internal/tlsroute"
)

var spanner = Engine{
	Protocol:   "spanner",
	Title:      "Spanner",
	Wire:       "gRPC",
	ALPN:       tlsroute.ALPNSpanner,
	NeedsName:  true,
	TunnelOnly: true,
	Clients: []Client{{
		Program: "spanner-cli", Install: "go install github.com/cloudspannerecosystem/spanner-cli@latest",
		Args: spannerArgs, Env: spannerEnv,
	}},
	URL: func(e Endpoint) string {
		at := spannerPath(e.Name)
		path := "/projects/" + url.PathEscape(at.project) + "/instances/" + url.PathEscape(at.instance) + "/databases/" + url.PathEscape(at.database)
		return "jdbc:cloudspanner://" + e.Addr() + path + ";usePlainText=true"
	},
	Env:    spannerEnv,
	Speaks: speaksHTTP2,
	Refuse: refuseGRPC,
	Ping:   http2Ping,
}

// spannerName is the full name of a database.
type spannerName struct {
	project, instance, database string
}

// spannerPath takes apart "projects/P/instances/I/databases/D". Any other name
// is the database's alone: a certificate says no more.
func spannerPath(name string) spannerName {
	p := strings.Split(name, "/")
	if len(p) == 6 && p[0] == "projects" && p[2] == "instances" && p[4] == "databases" {
		return spannerName{p[1], p[3], p[5]}
	}
	return spannerName{database: name}
}

// spannerArgs leaves project and instance to the program's own variables where
// they are not known.
func spannerArgs(e Endpoint) []string {
	at := spannerPath(e.Name)
	var args []string
	for _, a := range [][2]string{{"-p", at.project}, {"-i", at.instance}, {"-d", at.database}} {
		if a[1] != "" {
			args = append(args, a[0], a[1])
		}
	}
	return args
}

// spannerEnv sends Google's libraries to the listener, without TLS and without
// credentials.
func spannerEnv(e Endpoint) []string { return []string{"SPANNER_EMULATOR_HOST=" + e.Addr()} }
