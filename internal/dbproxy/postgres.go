package dbproxy

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	"tshx/internal/conn"
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
	URL:        postgresURL,
	NeedsCert:  postgresCancel,
	Unanswered: postgresCancelLength,
}

func postgresURL(e Endpoint) string {
	u := &url.URL{Scheme: "postgres", Host: e.Addr(), Path: "/" + e.Name}
	if e.User != "" {
		u.User = url.User(e.User)
	}
	if !e.Tunnel {
		u.RawQuery = "sslmode=verify-full&sslrootcert=" + queryPath(e.Files.CA) +
			"&sslcert=" + queryPath(e.Files.Cert) + "&sslkey=" + queryPath(e.Files.Key)
	}
	return u.String()
}

// queryPath escapes a path for a query and leaves it readable: slashes need no
// escape there (RFC 3986, section 3.4), and libpq takes a plus for itself.
func queryPath(path string) string {
	return strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(path))
}

// Codes of a PostgreSQL packet without a type byte (PostgreSQL documentation,
// "Message Formats", CancelRequest).
const (
	postgresCancelCode   = 1234<<16 | 5678
	postgresCancelLength = 16
)

// postgresCancel recognises a CancelRequest. Clients send it in plain on a new
// connection even when the session it cancels is encrypted, so that no
// certificate of the client's own can accompany it.
func postgresCancel(client net.Conn) (net.Conn, bool, error) {
	head := make([]byte, 8)
	n, err := io.ReadFull(client, head)
	replay := conn.Buffered(client, head[:n])
	if err != nil { // a port scan, a probe that sends nothing, a reset
		return nil, false, fmt.Errorf("%w before its first message: %w", conn.ErrClientGone, err)
	}
	// The key is longer than its old 4 bytes since protocol 3.2.
	cancel := binary.BigEndian.Uint32(head) >= postgresCancelLength && binary.BigEndian.Uint32(head[4:]) == postgresCancelCode
	return replay, cancel, nil
}
