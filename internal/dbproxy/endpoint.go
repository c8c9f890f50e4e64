package dbproxy

import (
	"cmp"
	"fmt"
	"net"
	"strings"
	"sync"

	"tshx/internal/identity"
)

// Endpoint is what a client of a running local proxy must know.
type Endpoint struct {
	Host   string // as the client must write it
	Port   string
	Socket string // path of the unix socket, which Host and Port are empty for
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
// certificate's, the engine's default user, or the only one that the
// certificate allows (docs/protocol.md, "Databases"). The endpoint, and every
// copy of it, asks a program only once about itself.
func (e *Engine) Complete(at Endpoint, id identity.Identity) Endpoint {
	at.Says = remembered(at.Says)
	at.User = cmp.Or(at.User, id.Database.User, e.DefaultUser, only(id.AllowedDBUsers))
	at.Name = cmp.Or(at.Name, id.Database.Name)
	if e.NeedsName {
		at.Name = cmp.Or(at.Name, only(id.AllowedDBNames))
	}
	return at
}

// Missing says what a client lacks yet: "user", "name" (of the database inside
// the server), or nothing.
func (e *Engine) Missing(at Endpoint) string {
	switch {
	case at.User == "":
		return "user"
	case e.NeedsName && at.Name == "":
		return "name"
	}
	return ""
}

// Trouble says why clients of this engine cannot use an endpoint; empty: they
// can. Only unix sockets are trouble.
func (e *Engine) Trouble(at Endpoint) string {
	switch {
	case at.Socket == "":
		return ""
	case e.Sockets == nil:
		return fmt.Sprintf("clients of %s cannot use a unix socket", e.Title)
	}
	return e.Sockets(at)
}

// anySocket is the Sockets of an engine whose clients take any.
func anySocket(Endpoint) string { return "" }

// tunnelURL is the Env of an engine whose programs take their address from one
// variable, and a certificate from none.
func tunnelURL(variable string, url func(Endpoint) string) func(Endpoint) []string {
	return func(e Endpoint) []string {
		if !e.Tunnel {
			return nil
		}
		return []string{variable + "=" + url(e)}
	}
}

// At sets the address of a listener as clients on this machine write it. In
// plain mode that is by name, which is what they verify the proxy's certificate
// by.
func (e Endpoint) At(addr net.Addr) Endpoint {
	if addr, ok := addr.(*net.UnixAddr); ok {
		e.Host, e.Port, e.Socket = "", "", addr.Name
		return e
	}
	host, port, _ := net.SplitHostPort(addr.String()) // of a TCP listener, always well formed
	ip := net.ParseIP(host)
	if !e.Tunnel && ip.IsLoopback() || ip.IsUnspecified() {
		host = "localhost"
	}
	e.Host, e.Port, e.Socket = host, port, ""
	return e
}

// Addr is Host and Port in one, or the path of the unix socket.
func (e Endpoint) Addr() string {
	if e.Socket != "" {
		return e.Socket
	}
	return net.JoinHostPort(e.Host, e.Port)
}

func (e Endpoint) has(program string) bool { return e.Has != nil && e.Has(program) }

func (e Endpoint) says(program string, args ...string) string {
	if e.Says == nil || !e.has(program) {
		return ""
	}
	return e.Says(program, args...)
}

// remembered keeps what says has returned.
func remembered(says func(string, ...string) string) func(string, ...string) string {
	if says == nil {
		return nil
	}
	var mu sync.Mutex
	known := map[string]string{}
	return func(program string, args ...string) string {
		mu.Lock()
		defer mu.Unlock()
		line := Quote(append([]string{program}, args...))
		said, ok := known[line]
		if !ok {
			said = says(program, args...)
			known[line] = said
		}
		return said
	}
}

// only returns the single value that leaves no choice.
func only(values []string) string {
	if len(values) == 1 && values[0] != "*" {
		return values[0]
	}
	return ""
}

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
