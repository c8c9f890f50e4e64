// Package dbproxy holds what differs from one database engine to the next: its
// route, what a client line for it looks like, and what its first bytes need.
//
//	e, err := dbproxy.Lookup("postgres")
//	route := e.Route("orders", cert)
//	fmt.Println(e.Command(endpoint))
//
// An engine is one file with one Engine value and a line in engines. The
// package opens no listener and runs no client.
package dbproxy

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"

	"tshx/internal/identity"
	"tshx/internal/tlsroute"
)

// Engine is one kind of database.
type Engine struct {
	// Protocol is the engine's name in certificates and configuration.
	Protocol string
	// Title is the name people use.
	Title string
	// ALPN is the route's name without the ping suffix.
	ALPN string
	// DefaultUser is the database user where neither flag nor certificate
	// names one.
	DefaultUser string
	// Command is the client's command line, ready for exec.
	Command func(Endpoint) []string
	// URL is the address in the form that drivers and graphical clients take.
	URL func(Endpoint) *url.URL
	// ServerFirst says that the server greets before the client has spoken.
	ServerFirst bool
	// Unanswered is the length of the one message, sent alone, that servers of
	// this engine do not answer. Zero: they answer everything.
	Unanswered int64
	// NeedsCert looks at the first bytes of a client in plain mode and reports
	// whether the proxy must see the database certificate for this connection.
	// It returns the connection to use from then on, with those bytes replayed,
	// or conn.ErrClientGone.
	// Nil means that no connection of this engine does.
	NeedsCert func(client net.Conn) (net.Conn, bool, error)
}

// engines is the table of all engines; each is in a file of its own.
var engines = []*Engine{&postgres, &mysql, &redis}

// UnknownEngineError says that a certificate is for an engine not in the table.
type UnknownEngineError struct {
	Protocol string
}

func (e *UnknownEngineError) Error() string {
	return fmt.Sprintf("database protocol %q is not supported; supported are %s", e.Protocol, strings.Join(Protocols(), ", "))
}

// Lookup returns the engine of a protocol name, or *UnknownEngineError.
func Lookup(protocol string) (*Engine, error) {
	for _, e := range engines {
		if e.Protocol == protocol {
			return e, nil
		}
	}
	return nil, &UnknownEngineError{Protocol: protocol}
}

// Protocols lists the protocol names of all engines.
func Protocols() []string {
	names := make([]string, len(engines))
	for i, e := range engines {
		names[i] = e.Protocol
	}
	return names
}

// Route returns the route to a database of this engine. cert is the database
// certificate for a tunnel, or nil in plain mode, where the client shows it
// itself. The ping variant comes first and keeps idle connections alive.
func (e *Engine) Route(database string, cert func() (*tls.Certificate, error)) tlsroute.Route {
	return tlsroute.Route{
		Name:        fmt.Sprintf("database %q", database),
		ALPN:        []string{tlsroute.WithPing(e.ALPN), e.ALPN},
		Certificate: cert,
	}
}

// Endpoint is what a client of a running local proxy must know.
type Endpoint struct {
	Host   string // as the client must write it
	Port   string
	User   string
	Name   string // the database inside the server; may be empty
	Tunnel bool   // the proxy shows the certificate; the client speaks in plain
	Files  Files  // what a client shows and trusts in plain mode
	// Has reports whether a program is installed, for engines whose clients
	// differ. Nil means that none is.
	Has func(program string) bool
}

// Files are paths of PEM files for the client's own TLS in plain mode.
type Files struct {
	CA, Cert, Key string
}

// Complete fills in the user and the database that the flags left open: the
// certificate's, or the only one it allows.
func (e *Engine) Complete(at Endpoint, id identity.Identity) Endpoint {
	at.User = cmp.Or(at.User, id.Database.User, e.DefaultUser, only(id.AllowedDBUsers))
	at.Name = cmp.Or(at.Name, id.Database.Name)
	return at
}

// At sets the address of a listener as clients on this machine write it. In
// plain mode that is by name, which is what they verify the proxy's certificate
// by.
func (e Endpoint) At(addr net.Addr) Endpoint {
	host, port, _ := net.SplitHostPort(addr.String()) // of a TCP listener, always well formed
	ip := net.ParseIP(host)
	if !e.Tunnel && ip.IsLoopback() || ip.IsUnspecified() {
		host = "localhost"
	}
	e.Host, e.Port = host, port
	return e
}

func (e Endpoint) has(program string) bool { return e.Has != nil && e.Has(program) }

// only returns the single value that leaves no choice.
func only(values []string) string {
	if len(values) == 1 && values[0] != "*" {
		return values[0]
	}
	return ""
}

// Addr is Host and Port in one.
func (e Endpoint) Addr() string { return net.JoinHostPort(e.Host, e.Port) }

// Quote joins a command line for a POSIX shell.
func Quote(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = quoteWord(a)
	}
	return strings.Join(quoted, " ")
}

func quoteWord(s string) string {
	safe := func(r rune) bool {
		return r == '-' || r == '_' || r == '.' || r == '/' || r == ':' || r == '=' || r == ',' || r == '@' || r == '+' ||
			'0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	if s != "" && strings.TrimFunc(s, safe) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
