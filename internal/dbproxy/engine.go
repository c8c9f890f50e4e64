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
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"tshx/internal/identity"
	"tshx/internal/tlsroute"
)

// Engine is one kind of database. Functions that are nil do nothing.
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
	// NeedsName says that a client must name a database inside the server.
	NeedsName bool
	// TunnelOnly says that clients cannot do the proxy's TLS themselves
	// (docs/protocol.md, "Databases").
	TunnelOnly bool
	// Clients are the programs people use, the first choice first.
	Clients []Client
	// URL is the address in the form that drivers and graphical clients take.
	URL func(Endpoint) string
	// Env are the variables, KEY=value, by which programs of this engine find
	// the database without arguments.
	Env func(Endpoint) []string
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
	// Speaks reports whether first, the first bytes of a client (at least one),
	// may be this engine's protocol in plain. Nil means that clients of this
	// engine wait for the server.
	Speaks func(first []byte) bool
	// Refuse tells a client why there is no database, in its own protocol and
	// in the form that its programs show to people. It reads what the client
	// must have said before it listens. The caller bounds it by a deadline on
	// client and closes client.
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
	// Has reports whether a program is installed. Nil means that none is.
	Has func(program string) bool
	// Says runs a program to learn its version and returns what it printed,
	// empty if it failed. Nil means that none can be run.
	Says func(program string, args ...string) string
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

func (e Endpoint) says(program string, args ...string) string {
	if e.Says == nil || !e.has(program) {
		return ""
	}
	return e.Says(program, args...)
}

// Client returns the first of the engine's programs that is installed; ok is
// false when none is, and the client then the first choice.
func (e *Engine) Client(at Endpoint) (c Client, ok bool) {
	for _, c := range e.Clients {
		if at.has(c.Program) && (c.Is == nil || c.Is(at)) {
			return c, true
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
