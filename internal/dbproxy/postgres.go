package dbproxy

import (
	"cmp"
	"net/url"
	"path/filepath"
	"strings"

	"tshx/internal/tlsroute"
)

var postgres = Engine{
	Protocol:  "postgres",
	Title:     "PostgreSQL",
	ALPN:      tlsroute.ALPNPostgres,
	NeedsName: true,
	Clients: []Client{{
		Program: "psql", Install: "Debian package postgresql-client",
		Args: func(e Endpoint) []string { return []string{postgresURL(e)} },
	}},
	URL:         postgresURL,
	Env:         postgresEnv,
	Sockets:     postgresSocket,
	ClientFile:  postgresClientFile,
	NeedsCert:   postgresCancel,
	Unanswered:  postgresUnanswered,
	Speaks:      postgresSpeaks,
	StartsPlain: postgresStartsPlain,
	Refuse:      postgresRefuse,
	Ping:        postgresPing,
}

// postgresURL says sslmode in a tunnel too: some drivers insist on TLS by
// default, and the others ask for it first, which costs them a round trip
// through the tunnel.
func postgresURL(e Endpoint) string {
	u := &url.URL{Scheme: "postgres", Host: e.Addr(), Path: "/" + e.Name, RawQuery: "sslmode=disable"}
	if e.User != "" {
		u.User = url.User(e.User)
	}
	if !e.Tunnel {
		u.RawQuery = "sslmode=verify-full&sslrootcert=" + queryPath(e.Files.CA) +
			"&sslcert=" + queryPath(e.Files.Cert) + "&sslkey=" + queryPath(e.Files.Key)
	}
	if e.Socket != "" {
		dir, port := postgresDir(e.Socket)
		u.Host, u.RawQuery = "", "host="+queryPath(dir)+"&port="+port+"&"+u.RawQuery
	}
	return u.String()
}

// queryPath escapes a path for a query and leaves it readable: slashes need no
// escape there (RFC 3986, section 3.4), and libpq takes a plus for itself.
func queryPath(path string) string {
	return strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(path))
}

// postgresPort is the port that clients take for themselves.
const postgresPort = "5432"

// postgresDir splits the path of a unix socket as libpq wants it: it takes the
// directory, and the file's name is a dot, "s.PGSQL." and the port.
func postgresDir(socket string) (dir, port string) {
	dir, name := filepath.Split(socket)
	port, ok := strings.CutPrefix(name, ".s.PGSQL.")
	if !ok || port == "" || strings.Trim(port, "0123456789") != "" {
		port = postgresPort
	}
	return cmp.Or(strings.TrimRight(dir, "/"), "/"), port
}

func postgresSocket(e Endpoint) string {
	dir, port := postgresDir(e.Socket)
	want := filepath.Join(dir, ".s.PGSQL."+port)
	switch {
	case !e.Tunnel:
		return "PostgreSQL clients do no TLS on a unix socket; add --tunnel"
	case e.Socket != want || !filepath.IsAbs(want):
		return "PostgreSQL clients find a unix socket only by an absolute path that ends in .s.PGSQL.PORT; listen on unix:" + want
	}
	return ""
}

// postgresEnv are the variables of libpq (PostgreSQL documentation,
// "Environment Variables").
func postgresEnv(e Endpoint) []string {
	var env []string
	for _, s := range postgresSettings(e) {
		if s.value != "" {
			env = append(env, s.variable+"="+s.value)
		}
	}
	return env
}

type postgresSetting struct {
	variable, keyword, value string
}

// postgresSettings are the parameters of a connection. GSS encryption is off
// because libpq would ask for it before TLS, and the proxy has none.
func postgresSettings(e Endpoint) []postgresSetting {
	host, port, mode := e.Host, e.Port, "disable"
	if e.Socket != "" {
		host, port = postgresDir(e.Socket)
	}
	if !e.Tunnel {
		mode = "verify-full"
	}
	return []postgresSetting{
		{"PGHOST", "host", host},
		{"PGPORT", "port", port},
		{"PGUSER", "user", e.User},
		{"PGDATABASE", "dbname", e.Name},
		{"PGSSLMODE", "sslmode", mode},
		{"PGSSLROOTCERT", "sslrootcert", e.Files.CA},
		{"PGSSLCERT", "sslcert", e.Files.Cert},
		{"PGSSLKEY", "sslkey", e.Files.Key},
		{"PGGSSENCMODE", "gssencmode", "disable"},
	}
}

// postgresClientFile is a section of the service file (PostgreSQL
// documentation, "The Connection Service File").
func postgresClientFile(e Endpoint, cluster, database string) ClientFile {
	f := ClientFile{Name: ".pg_service.conf", Variable: "PGSERVICEFILE", Section: cluster + "-" + database}
	for _, s := range postgresSettings(e) {
		if s.value != "" {
			f.Settings = append(f.Settings, s.keyword+"="+s.value)
		}
	}
	f.Use = []string{"psql", "service=" + conninfo(f.Section)}
	f.Env = []string{"PGSERVICE=" + f.Section}
	return f
}

// conninfo quotes a value of a connection string.
func conninfo(value string) string {
	if value != "" && !strings.ContainsAny(value, ` '\`) {
		return value
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}
