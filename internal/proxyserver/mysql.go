package proxyserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"tshx/internal/conn"
	"tshx/internal/tlsroute"
)

// builtinMySQLVersion is announced where nobody named another version.
const builtinMySQLVersion = "8.0.0-tshx"

// Errors of MySQL that the front sends itself. Those from 2000 on are the
// clients' own, which some refuse to take from a server.
const (
	mysqlErrAccessDenied = 1045
	mysqlErrUnreachable  = 1105
)

// announcedVersion is what the front calls itself before it knows the database:
// the version that the client asked for by an ALPN name, or else a fixed one.
func (s *Server) announcedVersion(h tlsroute.Hello) string {
	for _, name := range h.ALPN {
		if v := tlsroute.ParseMySQLVersion(name); v != "" {
			return v
		}
	}
	if s.opts.MySQLVersion != "" {
		return s.opts.MySQLVersion
	}
	return builtinMySQLVersion
}

// mysqlTunnel serves a client whose database is known. The backend's own
// greeting is passed on, so that version, capabilities and the challenge of the
// authentication are the backend's; only the offer of TLS is taken out, because
// the stream is encrypted already. It closes c.
func (s *Server) mysqlTunnel(ctx context.Context, c net.Conn, db Database) (conn.Stats, error) {
	b, greeting, err := s.mysqlDial(ctx, db, c.RemoteAddr())
	if err != nil {
		writeMySQLPacket(c, 0, mysqlError(mysqlErrUnreachable, "", fmt.Sprintf("database %q cannot be reached", db.Name)))
		c.Close()
		return conn.Stats{}, err
	}
	if err := writeMySQLPacket(c, 0, withoutSSL(greeting)); err != nil {
		c.Close()
		b.Close()
		return conn.Stats{}, fmt.Errorf("mysql: write greeting: %w", err)
	}
	return conn.Splice(ctx, c, b)
}

// mysqlDial connects to a backend and reads its greeting, or the error that it
// sends instead of one.
func (s *Server) mysqlDial(ctx context.Context, db Database, client net.Addr) (net.Conn, []byte, error) {
	b, err := s.dial(ctx, db.resource(client))
	if err != nil {
		return nil, nil, fmt.Errorf("dial backend: %w", err)
	}
	b.SetDeadline(time.Now().Add(startupTimeout))
	greeting, err := (&mysqlPeer{Conn: b}).readServer()
	if err != nil {
		b.Close()
		return nil, nil, fmt.Errorf("mysql: read greeting of the backend: %w", err)
	}
	return b, greeting, b.SetDeadline(time.Time{})
}

// mysqlPlain serves a client that shows its certificate in the TLS of the MySQL
// protocol. The server has to speak first, before it can know the database. So
// the front greets with a challenge of its own and, once the certificate has
// named the backend, has the backend ask for the authentication anew
// (noPlugin). It closes c.
func (s *Server) mysqlPlain(ctx context.Context, c net.Conn, version string) (conn.Stats, error) {
	front := &mysqlPeer{Conn: c}
	defer func() { front.Close() }()
	c.SetDeadline(time.Now().Add(startupTimeout))
	if err := front.write(ownGreeting(version)); err != nil {
		return conn.Stats{}, fmt.Errorf("mysql: write greeting: %w", err)
	}
	req, err := front.read()
	if err != nil {
		return conn.Stats{}, fmt.Errorf("mysql: read tls request: %w", err)
	}
	if len(req) != mysqlSSLRequestLen || capabilities(req)&mysqlSSL == 0 {
		front.write(mysqlError(mysqlErrAccessDenied, "28000", "connect with TLS and the certificate of the database, or use a tunnel"))
		return conn.Stats{}, errors.New("mysql: the client asked for no tls and has no certificate")
	}
	tc, id, err := s.inProtocolTLS(ctx, c)
	if err != nil {
		return conn.Stats{}, err
	}
	front.Conn = tc
	db, err := s.database(id)
	if err != nil {
		front.read() // the login, after which an error may follow
		front.write(mysqlError(mysqlErrAccessDenied, "28000", err.Error()))
		return conn.Stats{}, err
	}
	b, err := s.mysqlLogin(ctx, front, db)
	if err != nil {
		return conn.Stats{}, err
	}
	return conn.Splice(ctx, front.Conn, b)
}

// mysqlLogin carries the authentication between client and backend and
// returns the backend as the server of a logged-in client.
func (s *Server) mysqlLogin(ctx context.Context, front *mysqlPeer, db Database) (net.Conn, error) {
	m, err := front.read()
	if err != nil {
		return nil, fmt.Errorf("mysql: read login: %w", err)
	}
	login, err := parseLogin(m)
	if err != nil {
		return nil, err
	}
	b, greeting, err := s.mysqlDial(ctx, db, front.RemoteAddr())
	if err != nil {
		front.write(mysqlError(mysqlErrUnreachable, "HY000", fmt.Sprintf("database %q cannot be reached", db.Name)))
		return nil, err
	}
	b.SetDeadline(time.Now().Add(startupTimeout))
	if err := joinLogin(front, &mysqlPeer{Conn: b, seq: 1}, login, greeting); err != nil {
		b.Close()
		return nil, err
	}
	front.SetDeadline(time.Time{})
	b.SetDeadline(time.Time{})
	return b, nil
}

// joinLogin passes the login on and goes on between client and backend until
// the backend has accepted the client. Sequence numbers differ on both sides by
// then; the first command starts them anew.
func joinLogin(front, back *mysqlPeer, login mysqlLogin, greeting []byte) error {
	flags, err := greetingFlags(greeting)
	if err != nil {
		front.write(greeting) // an error: let the client see it
		return err
	}
	if err := back.write(login.encode(flags)); err != nil {
		return fmt.Errorf("mysql: write login to the backend: %w", err)
	}
	for {
		m, err := back.readServer()
		if err != nil {
			return fmt.Errorf("mysql: read authentication of the backend: %w", err)
		}
		if err := front.write(m); err != nil {
			return fmt.Errorf("mysql: write authentication: %w", err)
		}
		switch {
		case m[0] == mysqlOK:
			return nil
		case m[0] == mysqlERR:
			return errors.New("mysql: the backend refused the login")
		case string(m) == mysqlFastAuthDone:
			continue
		}
		if m, err = front.read(); err != nil {
			return fmt.Errorf("mysql: read authentication: %w", err)
		}
		if err := back.write(m); err != nil {
			return fmt.Errorf("mysql: write authentication to the backend: %w", err)
		}
	}
}
