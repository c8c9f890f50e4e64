package proxyserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"tshx/internal/conn"
	"tshx/internal/identity"
)

// Request codes that take the place of the protocol version in the first
// message (PostgreSQL documentation, "Message Formats").
const (
	pgCancelRequest = 80877102
	pgSSLRequest    = 80877103
	pgGSSENCRequest = 80877104
)

// maxPGStartup is the longest first message that PostgreSQL itself accepts.
const maxPGStartup = 10000

var errPGRepeated = errors.New("postgres: a second request for encryption")

// postgres serves a client up to its startup message, answers its requests for
// encryption and joins it to the backend. Without an id the client must do TLS
// and show its certificate there. A cancel request
// is passed on like a startup message, but only for a client with a
// certificate: nothing else in it says for which database it is.
//
// It closes c.
func (s *Server) postgres(ctx context.Context, c net.Conn, id identity.Identity) (conn.Stats, error) {
	defer func() { c.Close() }()
	known := id.Database.Present()
	c.SetReadDeadline(time.Now().Add(startupTimeout))
	var seenSSL, seenGSS bool
	for {
		first, err := readPGStartup(c)
		if err != nil {
			return conn.Stats{}, fmt.Errorf("postgres: read startup message: %w", err)
		}
		switch code := binary.BigEndian.Uint32(first[4:]); {
		case code == pgSSLRequest && seenSSL, code == pgGSSENCRequest && seenGSS:
			return conn.Stats{}, errPGRepeated
		case code == pgGSSENCRequest:
			seenGSS = true
			_, err = io.WriteString(c, "N")
		case code == pgSSLRequest && known:
			seenSSL = true
			_, err = io.WriteString(c, "N")
		case code == pgSSLRequest:
			seenSSL = true
			if _, err = io.WriteString(c, "S"); err == nil {
				c, id, err = s.postgresTLS(ctx, c)
			}
		case !known && !seenSSL:
			err = errors.New("postgres: the client asked for no tls and has no certificate")
			writePGError(c, "28000", "connect with sslmode=require or better, or use a tunnel")
		default:
			c.SetReadDeadline(time.Time{})
			return s.postgresBackend(ctx, conn.Buffered(c, first), id)
		}
		if err != nil {
			return conn.Stats{}, err
		}
	}
}

// postgresTLS keeps c on error, for the caller to close.
func (s *Server) postgresTLS(ctx context.Context, c net.Conn) (net.Conn, identity.Identity, error) {
	tc, id, err := s.inProtocolTLS(ctx, c)
	if err != nil {
		return c, id, err
	}
	return tc, id, tc.SetReadDeadline(time.Now().Add(startupTimeout))
}

func (s *Server) postgresBackend(ctx context.Context, c net.Conn, id identity.Identity) (conn.Stats, error) {
	db, err := s.database(id)
	if err != nil {
		writePGError(c, "28000", err.Error())
		return conn.Stats{}, err
	}
	b, err := s.dial(ctx, db.resource(c.RemoteAddr()))
	if err != nil {
		writePGError(c, "08006", fmt.Sprintf("database %q cannot be reached", db.Name))
		return conn.Stats{}, fmt.Errorf("dial backend: %w", err)
	}
	return conn.Splice(ctx, c, b)
}

// readPGStartup reads a message that has a length but no type byte, as the
// first ones of a client do.
func readPGStartup(r io.Reader) ([]byte, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head)
	if n < 8 || n > maxPGStartup {
		return nil, fmt.Errorf("length %d is out of range", n)
	}
	m := append(head, make([]byte, n-8)...)
	_, err := io.ReadFull(r, m[8:])
	return m, err
}

// writePGError sends an ErrorResponse, so that the client shows the reason
// instead of a lost connection. The stream ends after it anyway.
func writePGError(w io.Writer, sqlState, message string) {
	body := []byte("SFATAL\x00VFATAL\x00C" + sqlState + "\x00M" + message + "\x00\x00")
	m := binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(body)+4))
	w.Write(append(m, body...))
}
