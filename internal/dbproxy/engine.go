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
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"tshx/internal/tlsroute"
)

// Engine is one kind of database. Functions that are nil do nothing.
type Engine struct {
	// Protocol is the engine's name in certificates and configuration.
	Protocol string
	// Title is the name people use.
	Title string
	// Wire is the name of the protocol between client and server where it is
	// not the Title.
	Wire string
	// ALPN is the route's name without the ping suffix.
	ALPN string
	// DefaultUser is the database user where neither flag nor certificate
	// names one.
	DefaultUser string
	// NeedsName says that a client must name a database inside the server.
	NeedsName bool
	// TunnelOnly says that clients cannot do the proxy's TLS themselves
	// (docs/protocol.md, "Databases").
	TunnelOnly bool
	// Clients are the programs people use, the first choice first.
	Clients []Client
	// URL is the address in the form that drivers and graphical clients take.
	URL func(Endpoint) string
	// Env are the variables, KEY=value, by which programs of this engine get to
	// the database without arguments. There are none in plain mode where they
	// cannot name a certificate.
	Env func(Endpoint) []string
	// Sockets says why no client of this engine can use the unix socket at an
	// endpoint; empty: one can. Nil means that clients of this engine know no
	// unix sockets.
	Sockets func(Endpoint) string
	// ClientFile is what a login writes for programs of this engine, on behalf
	// of a database in a cluster. Nil: they read no such file.
	ClientFile func(at Endpoint, cluster, database string) ClientFile
	// ServerFirst says that the server greets before the client has spoken.
	ServerFirst bool
	// Web says that the engine speaks HTTP/1, in which web pages can make a
	// browser ask it.
	Web bool
	// Unanswered reports whether first, all that a client has sent (or its first
	// 4 KiB), is a message that servers of this engine do not answer. Nil means
	// that they answer everything.
	Unanswered func(first []byte) bool
	// NeedsCert looks at the first bytes of a client in plain mode and reports
	// whether the proxy must see the database certificate for this connection.
	// It returns the connection to use from then on, with those bytes replayed,
	// or conn.ErrClientGone.
	// Nil means that no connection of this engine does.
	NeedsCert func(client net.Conn) (net.Conn, bool, error)
	// Speaks reports whether first, the first bytes of a client (at least proof),
	// are this engine's protocol without TLS: in doubt they are not. Nil means
	// that clients of this engine wait for the server.
	Speaks func(first []byte) bool
	// StartsPlain reports whether first, of a client in plain mode, begins its
	// session without TLS although it would have to ask for it now. Nil means
	// that this cannot be told.
	StartsPlain func(first []byte) bool
	// Refuse tells a client why there is no database, in its own protocol and
	// in the form that its programs show to people. It reads what the client
	// must have said before it listens, from its first byte on, which is no
	// TLS. The caller bounds it by a deadline on client and closes client.
	Refuse func(client net.Conn, r Refusal) error
	// Ping does the engine's handshake on c, a connection of a tunnel, as far
	// as a server tells its version without a password. ctx has a deadline,
	// which is also c's. The caller closes c.
	Ping func(ctx context.Context, c net.Conn, at Endpoint) (Pong, error)
}

// Client is a program that people use with an engine.
type Client struct {
	Program string
	// Install says where the program comes from: "Debian package
	// postgresql-client".
	Install string
	// Args are its arguments, without the program itself. No secret is ever in
	// them.
	Args func(Endpoint) []string
	// Env are variables, KEY=value, that the program needs besides; secrets go
	// here.
	Env func(Endpoint) []string
	// Is tells apart programs that share a name. Nil means that the name is
	// enough.
	Is func(Endpoint) bool
}

// Refusal is why a client gets no database.
type Refusal struct {
	// Text is one line: what went wrong and what to do.
	Text string
	// Login says that the login or a certificate is the reason.
	Login bool
	// Tunnel says that the client speaks without TLS of its own. Otherwise it
	// expects TLS to be next, in the manner of its protocol, and can be told
	// only before that.
	Tunnel bool
	// WebPage says that the client is a browser on behalf of a web page.
	WebPage bool
}

// Pong is what a database server told of itself.
type Pong struct {
	// Version is the server's, as it says it; empty if it does not say before a
	// login.
	Version string
	// RoundTrip is the time from a request to its answer, once connected.
	RoundTrip time.Duration
	// Note says what the server wants besides, such as a password; may be empty.
	Note string
}

// ServerError says that a database server answered a ping with an error of its
// own.
type ServerError struct {
	Code string // the engine's own: an SQLSTATE, a number, a word
	Text string // from outside
}

func (e *ServerError) Error() string { return fmt.Sprintf("the server says: %s (%s)", e.Text, e.Code) }

// engines is the table of all engines; each is in a file of its own. Of two that
// may know the same first bytes, the one that looks closer comes first.
var engines = []*Engine{
	&postgres, &cockroachdb, &mysql, &redis, &mongodb, &sqlserver, &cassandra, &clickhouse, &oracle,
	&spanner, &elasticsearch, &opensearch, &dynamodb, &clickhouseHTTP, &snowflake,
}

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

// Client returns the first of the engine's programs that is installed; ok is
// false when none is, and the client then the first choice that is right for
// the endpoint.
func (e *Engine) Client(at Endpoint) (c Client, ok bool) {
	for _, c := range e.Clients {
		if at.has(c.Program) && (c.Is == nil || c.Is(at)) {
			return c, true
		}
	}
	for _, c := range e.Clients {
		if c.Is == nil || c.Is(at) {
			return c, false
		}
	}
	return e.Clients[0], false
}

// Command is the command line of the engine's client, ready for exec but for
// the variables that the client needs.
func (e *Engine) Command(at Endpoint) []string {
	c, _ := e.Client(at)
	return append([]string{c.Program}, c.Args(at)...)
}
